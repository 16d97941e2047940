// The activations and their slopes, for loops that vectorise.
#pragma once

#include "kernels/activation/activation.h"
#include "kernels/cpu/simd.h"

namespace gradcache::kernels::cpu {

// The normal distribution's cumulative and density at z, for GELU(z) = z * cumulative(z).
GRADCACHE_INLINE void normal(double z, double& cumulative, double& density) {
  cumulative = 0.5 * std::erfc(-z * 0.70710678118654752440);
  density = 0.39894228040143267794 * std::exp(-0.5 * z * z);
}

// Abramowitz and Stegun 7.1.26: erf within 1.5e-7, about float32's own resolution, and it vectorises.
GRADCACHE_INLINE void normal(float z, float& cumulative, float& density) {
  const float magnitude = z < 0.0f ? -z : z;
  const float t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * magnitude);
  const float e = exponential(-0.5f * z * z);
  float q = 0.5f * 1.061405429f;
  q = q * t + 0.5f * -1.453152027f;
  q = q * t + 0.5f * 1.421413741f;
  q = q * t + 0.5f * -0.284496736f;
  q = q * t + 0.5f * 0.254829592f;
  q = q * t * e;
  cumulative = z < 0.0f ? q : 1.0f - q;
  density = 0.39894228040f * e;
}

// y = f(z) and f'(z).
template <Activation Kind, class T>
GRADCACHE_INLINE void evaluate(T z, T& y, T& slope) {
  if constexpr (Kind == Activation::kGelu) {
    T cumulative, density;
    normal(z, cumulative, density);
    y = z * cumulative;
    slope = cumulative + z * density;
  } else if constexpr (Kind == Activation::kGeluTanh) {
    constexpr T root = T(0.79788456080286535588), cubic = T(0.044715);
    const T t = hyperbolicTangent(root * (z + cubic * z * z * z));
    y = T(0.5) * z * (T(1) + t);
    slope = T(0.5) * (T(1) + t) + T(0.5) * z * (T(1) - t * t) * root * (T(1) + T(3) * cubic * z * z);
  } else if constexpr (Kind == Activation::kSilu) {
    const T logistic = T(1) / (T(1) + exponential(-z));
    y = z * logistic;
    slope = logistic + y * (T(1) - logistic);
  } else {
    y = z > 0 ? z : T(0);
    slope = z > 0 ? T(1) : T(0);
  }
}

}  // namespace gradcache::kernels::cpu
