#include "blocks/sru_cell.h"

#include <cmath>
#include <utility>

namespace gradcache {

SruCell::SruCell(const std::string& name, const Options& options, Builder& builder)
    : options_(options),
      weights_(
          builder.parameters.add({{name + ".forget.weight", {options.width}, true, Initial::uniform(1)},
                                  {name + ".reset.weight", {options.width}, true, Initial::uniform(1)}})),
      bias_(builder.parameters.add(
          {{name + ".forget.bias", {options.width}, false},
           {name + ".reset.bias", {options.width}, false, Initial::constant(options.highwayBias)}})),
      dropout_(builder.dropout(options.dropout)),
      state_(builder.carry(CarriedKind::kState, options.width)) {
  require(!options.bidirectional || options.width % 2 == 0, "CHECKPOINT", "a layer of two directions has ",
          options.width, " columns, which must be an even number");
}

kernels::RecurrenceOptions SruCell::kernelOptions(const Pass& pass) const {
  kernels::RecurrenceOptions options;
  options.projections = options_.projections();
  options.direction = options_.bidirectional ? kernels::Direction::kBoth : kernels::Direction::kForward;
  options.skipScale =
      options_.rescale && options_.projections() == 3 ? std::sqrt(1 + 2 * std::exp(options_.highwayBias)) : 1;
  options.mask = dropout_.key(pass);
  options.maskPerToken = options_.dropoutPerToken;
  return options;
}

kernels::RecurrenceInputs SruCell::inputs(at::Tensor u, const at::Tensor& x, const Pass& pass) const {
  const bool own = options_.skip && options_.projections() == 3;
  return {std::move(u), own ? x : at::Tensor(), pass.weight(weights_).view({2, options_.width}),
          pass.weight(bias_).view({2, options_.width}), state_.before(pass)};
}

kernels::Recurrence SruCell::forward(at::Tensor u, const at::Tensor& x, const Pass& pass, bool save) const {
  kernels::Recurrence result =
      kernels::recurrence(inputs(std::move(u), x, pass), pass.sequences(), kernelOptions(pass), save);
  state_.setAfter(pass, result.last);
  return result;
}

kernels::RecurrenceGradients SruCell::backward(const at::Tensor& dh, at::Tensor u, const at::Tensor& x,
                                               const kernels::Recurrence& saved, const Pass& pass) const {
  const auto rows = [&](const at::Tensor& gradient) {
    return gradient.defined() ? gradient.view({2, options_.width}) : gradient;
  };
  kernels::RecurrenceGradients gradients = kernels::recurrenceBackward(
      dh, state_.afterGradient(pass), inputs(std::move(u), x, pass), saved, pass.sequences(),
      kernelOptions(pass), rows(pass.gradient(weights_)), rows(pass.gradient(bias_)));
  state_.setBeforeGradient(pass, std::move(gradients.state));
  return gradients;
}

int64_t SruCell::tapeBytes(const ChunkSize& chunk) const {
  return options_.width *
         (chunk.tokens * (options_.projections() + 2) * chunk.element + chunk.sequences * chunk.wide);
}

}  // namespace gradcache
