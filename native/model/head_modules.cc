#include "model/head_modules.h"

#include <map>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/recorded.h"
#include "kernels/dropout/dropout.h"
#include "kernels/pool/pool.h"

namespace gradcache {

namespace {

// The classes of torch.nn by the names of their functions, with the arguments that they have by default.
using Activation = at::Tensor (*)(const at::Tensor&);
const std::map<std::string, Activation> kActivations{
    {"identity", [](const at::Tensor& x) { return x; }},
    {"tanh", [](const at::Tensor& x) { return at::tanh(x); }},
    {"relu", [](const at::Tensor& x) { return at::relu(x); }},
    {"gelu", [](const at::Tensor& x) { return at::gelu(x); }},
    {"gelu_tanh", [](const at::Tensor& x) { return at::gelu(x, "tanh"); }},
    {"silu", [](const at::Tensor& x) { return at::silu(x); }},
    {"sigmoid", [](const at::Tensor& x) { return at::sigmoid(x); }},
    {"mish", [](const at::Tensor& x) { return at::mish(x); }},
    {"elu", [](const at::Tensor& x) { return at::elu(x); }},
    {"celu", [](const at::Tensor& x) { return at::celu(x); }},
    {"selu", [](const at::Tensor& x) { return at::selu(x); }},
    {"leaky_relu", [](const at::Tensor& x) { return at::leaky_relu(x); }},
    {"relu6", [](const at::Tensor& x) { return at::hardtanh(x, 0, 6); }},
    {"hardtanh", [](const at::Tensor& x) { return at::hardtanh(x); }},
    {"hardswish", [](const at::Tensor& x) { return at::hardswish(x); }},
    {"hardsigmoid", [](const at::Tensor& x) { return at::hardsigmoid(x); }},
    {"hardshrink", [](const at::Tensor& x) { return at::hardshrink(x); }},
    {"softshrink", [](const at::Tensor& x) { return at::softshrink(x); }},
    {"tanhshrink", [](const at::Tensor& x) { return x.sub(at::tanh(x)); }},
    {"softplus", [](const at::Tensor& x) { return at::softplus(x); }},
    {"softsign", [](const at::Tensor& x) { return x.div(x.abs().add(1)); }},
    {"logsigmoid", [](const at::Tensor& x) { return at::log_sigmoid(x); }},
};

Activation activationNamed(const std::string& name) {
  const auto found = kActivations.find(name);
  require(found != kActivations.end(), "INPUT", "activation '", name, "' of a dense layer is unknown");
  return found->second;
}

// As kernels::dropout, with a graph where x has one.
at::Tensor dropout(const at::Tensor& x, const DropoutKey& key) {
  if (!key.active()) return x;
  at::Tensor y = kernels::dropout(x.detach(), key);
  if (!x.requires_grad() || !at::GradMode::is_enabled()) return y;
  return record(y, x, [key](const at::Tensor& dy) { return kernels::dropout(dy, key); });
}

at::Tensor toLengthOne(const at::Tensor& rows) {
  return rows.div(at::linalg_vector_norm(rows, 2, at::IntArrayRef{1}, true).clamp_min(kernels::kLeastNorm));
}

double numberOr(const Settings& settings, const std::string& name, double otherwise) {
  return settings.has(name) ? settings.number(name) : otherwise;
}

}  // namespace

HeadModules::HeadModules(int64_t width, const Settings& settings, Builder& builder, const std::string& list)
    : width_(width) {
  for (const Settings& own : settings.list(list)) {
    const std::string& kind = own.text("kind");
    if (kind == "dense") {
      modules_.push_back(dense(own, builder));
    } else if (kind == "norm") {
      modules_.push_back(norm(own, builder));
    } else if (kind == "dropout") {
      modules_.push_back(
          {kind, width_,
           [place = builder.dropout(own.number("probability"))](const at::Tensor& x, const Pass& pass) {
             return dropout(x, place.key(pass));
           }});
    } else {
      require(kind == "normalize", "INPUT", "a head has no module of the kind '", kind, "'");
      modules_.push_back({kind, 2 * width_, [](const at::Tensor& x, const Pass&) { return toLengthOne(x); }});
    }
  }
}

HeadModules::Module HeadModules::dense(const Settings& settings, Builder& builder) {
  const std::string& name = settings.text("name");
  const int64_t in = settings.size("inFeatures"), out = settings.size("outFeatures");
  require(in == width_, "CHECKPOINT", "the layer ", name, " takes rows of ", in, " numbers and gets ",
          width_);
  width_ = out;
  ParameterList& list = builder.parameters;
  const Dropout place = builder.dropout(numberOr(settings, "dropout", 0));
  const ParameterId weight = list.add({{.name = name + ".weight", .shape = {out, in}, .wide = true}});
  std::optional<ParameterId> bias, residual;
  if (settings.truth("bias"))
    bias = list.add({{.name = name + ".bias", .shape = {out}, .decay = false, .wide = true}});
  const bool adds = settings.has("residual") && settings.truth("residual");
  if (adds && in != out)
    residual = list.add({{.name = name + ".residual.weight", .shape = {out, in}, .wide = true}});
  const Activation activation = activationNamed(settings.text("activation"));
  return {"dense", 2 * out + (place.probability > 0 ? in : 0) + (adds ? out : 0),
          [=](const at::Tensor& x, const Pass& pass) {
            const Parameters& parameters = *pass.parameters;
            const at::Tensor y = activation(at::linear(dropout(x, place.key(pass)), parameters.leaf(weight),
                                                       bias ? parameters.leaf(*bias) : at::Tensor()));
            if (!adds) return y;
            return y.add(residual ? at::linear(x, parameters.leaf(*residual)) : x);
          }};
}

HeadModules::Module HeadModules::norm(const Settings& settings, Builder& builder) const {
  const std::string& name = settings.text("name");
  ParameterList& list = builder.parameters;
  const ParameterId scale =
      list.add({{.name = name + ".weight", .shape = {width_}, .decay = false, .wide = true}});
  std::optional<ParameterId> shift;
  if (!settings.has("bias") || settings.truth("bias"))
    shift = list.add({{.name = name + ".bias", .shape = {width_}, .decay = false, .wide = true}});
  return {"norm", 2 * width_ + 2,
          [=, width = width_, epsilon = numberOr(settings, "epsilon", 1e-5)](const at::Tensor& x,
                                                                             const Pass& pass) {
            const Parameters& parameters = *pass.parameters;
            return at::layer_norm(x, {width}, parameters.leaf(scale),
                                  shift ? parameters.leaf(*shift) : at::Tensor(), epsilon);
          }};
}

at::Tensor HeadModules::forward(at::Tensor rows, const Pass& pass, size_t skipped) const {
  for (size_t k = skipped; k < modules_.size(); ++k) rows = modules_[k].forward(rows, pass);
  return rows;
}

int64_t HeadModules::tapeBytes(int64_t wide, size_t skipped) const {
  int64_t numbers = 0;
  for (size_t k = skipped; k < modules_.size(); ++k) numbers += modules_[k].kept;
  return numbers * wide;
}

}  // namespace gradcache
