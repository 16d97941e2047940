#include "blocks/rotary_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace gradcache {

namespace {

// All in float32, as transformers computes it: at far positions a last bit of a frequency can be seen.
at::Tensor usualFrequencies(double theta, int64_t features) {
  const at::Tensor exponents = at::arange(0, features, 2, at::kLong).to(at::kFloat).div(features);
  return at::pow(theta, exponents).reciprocal();
}

// Long waves are stretched by the factor, short ones are not, those between in part (Llama 3.1).
at::Tensor llama3Frequencies(const at::Tensor& usual, const Settings& settings) {
  const double factor = settings.number("factor"), low = settings.number("low"),
               high = settings.number("high"), original = settings.number("original");
  const at::Tensor waves = usual.reciprocal().mul(2 * std::numbers::pi);
  const at::Tensor smooth = waves.reciprocal().mul(original).sub(low).div(high - low);
  const at::Tensor mixed = smooth.neg().add(1).mul(usual.div(factor)).add(smooth.mul(usual));
  const at::Tensor stretched = at::where(waves.gt(original / low), usual.div(factor), usual);
  return at::where(waves.lt(original / high).logical_or(waves.gt(original / low)), stretched, mixed);
}

// Peng et al. 2023, 3.2: a ramp over the dimensions between stretching and leaving alone.
at::Tensor yarnFrequencies(const at::Tensor& usual, int64_t features, const Settings& settings) {
  const double theta = settings.number("theta"), original = settings.number("original");
  auto dimension = [&](double rotations) {
    return static_cast<double>(features) * std::log(original / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(theta));
  };
  double low = dimension(settings.number("fast")), high = dimension(settings.number("slow"));
  if (settings.truth("whole")) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(features - 1));
  if (low == high) high += 0.001;
  const at::Tensor ramp = at::arange(features / 2, at::kFloat).sub(low).div(high - low).clamp(0, 1);
  return usual.div(settings.number("factor")).mul(ramp).add(usual.mul(ramp.neg().add(1)));
}

}  // namespace

RotaryTable::RotaryTable(const Settings& settings, int64_t size) {
  const std::string& kind = settings.text("kind");
  const int64_t features = settings.size("features", 2, size);
  require(features % 2 == 0, "CHECKPOINT", "rotary position embedding turns pairs of features, not ",
          features);
  double theta = settings.number("theta");
  if (kind == "ntk") theta *= settings.number("factor");
  frequencies_ = usualFrequencies(theta, features);
  if (kind == "linear") {
    frequencies_ = frequencies_.div(settings.number("factor"));
  } else if (kind == "ntk") {
    // By libtorch: the pow of the C library here is newer than glibc 2.28.
    const at::Tensor factor = at::scalar_tensor(settings.number("factor"), at::kDouble);
    frequencies_ = frequencies_.div(factor.pow(2.0 / static_cast<double>(features)).item<double>());
  } else if (kind == "llama3") {
    frequencies_ = llama3Frequencies(frequencies_, settings);
  } else if (kind == "yarn") {
    frequencies_ = yarnFrequencies(frequencies_, features, settings);
    scale_ = settings.number("attention");
  } else {
    require(kind == "default", "INPUT", "there is no rotary position embedding '", kind, "'");
  }
}

kernels::Rotation RotaryTable::of(const Pass& pass) const {
  if (!cosines_.defined() || cosines_.size(0) < pass.tokens.longest) {
    // The product is in the type of the weights: in float32 it is transformers' own, bit for bit.
    const at::Tensor angles =
        at::arange(pass.tokens.longest, pass.wideType()).unsqueeze(1).mul(frequencies_.to(pass.wideType()));
    const auto options = at::TensorOptions().device(pass.tokens.ids.device()).dtype(pass.wideType());
    cosines_ = angles.cos().mul(scale_).to(options);
    sines_ = angles.sin().mul(scale_).to(options);
  }
  return {cosines_, sines_, pass.tokens.positions};
}

}  // namespace gradcache
