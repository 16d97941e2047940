#include "language/penalties.h"

#include "core/error.h"

namespace gradcache {

namespace {

double factor(const Settings& settings, const char* name) {
  const double value = settings.number(name);
  require(value >= 0 && value < std::numeric_limits<double>::infinity(), "INPUT", name, " is ", value,
          ", it must be a finite number from 0");
  return value;
}

at::Tensor wide(const at::Tensor& x) {
  return x.to(x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
}

// The difference from each output of a sequence to the next one: [sequences, length - 1, width].
at::Tensor changes(const at::Tensor& outputs, int64_t sequences) {
  return wide(outputs).view({sequences, -1, outputs.size(1)}).diff(1, 1);
}

}  // namespace

Penalties::Penalties(const Settings& settings)
    : activation_(factor(settings, "activationPenalty")), slowness_(factor(settings, "slownessPenalty")) {}

double Penalties::value(const at::Tensor& outputs, const at::Tensor& dropped, int64_t sequences) const {
  const auto tokens = static_cast<double>(outputs.size(0));
  double sum = 0;
  if (activation_ != 0) sum += activation_ * wide(dropped).square().mean().item<double>();
  if (slowness_ != 0 && outputs.size(0) > sequences)
    sum += slowness_ * changes(outputs, sequences).square().mean().item<double>();
  return tokens * sum;
}

void Penalties::addGradients(double seed, const at::Tensor& outputs, at::Tensor& outputGradient,
                             const at::Tensor& dropped, at::Tensor& droppedGradient,
                             int64_t sequences) const {
  const auto width = static_cast<double>(outputs.size(1));
  if (activation_ != 0) droppedGradient.add_(dropped, seed * 2 * activation_ / width);
  if (slowness_ == 0 || outputs.size(0) == sequences) return;
  const auto tokens = static_cast<double>(outputs.size(0));
  const double scale = seed * 2 * slowness_ * tokens / ((tokens - static_cast<double>(sequences)) * width);
  const at::Tensor change = changes(outputs, sequences).mul_(scale);
  const int64_t pairs = change.size(1);
  at::Tensor gradient = outputGradient.view({sequences, -1, outputs.size(1)});
  gradient.narrow(1, 1, pairs).add_(change);
  gradient.narrow(1, 0, pairs).sub_(change);
}

}  // namespace gradcache
