// The activations and their slopes, for kernels that take one as a compile-time value.
#pragma once

#include <type_traits>

#include "cuda/columns.cuh"

namespace gradcache::cuda {

__device__ __forceinline__ float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float powerOfTwo(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// y = f(z) and f'(z). The backward finds the forward's bits again: nothing is left for the compiler to
// contract.
template <GradcacheActivation Kind>
__device__ __forceinline__ void evaluate(float z, float& y, float& slope) {
  constexpr float kLog2E = 1.44269504089f;
  if constexpr (Kind == GRADCACHE_GELU) {
    // Abramowitz and Stegun 7.1.26: erf within 1.5e-7, about float32's own resolution, and cheap enough to
    // hide behind memory, which erff is not. All of it is halved: q ends as the normal distribution's tail
    // beyond |z|.
    constexpr float kRootHalf = 0.70710678118f;
    const float t = reciprocal(__fmaf_rn(fabsf(z), 0.3275911f * kRootHalf, 1.0f));
    const float e = powerOfTwo(__fmul_rn(__fmul_rn(z, z), -0.5f * kLog2E));
    float q = __fmaf_rn(t, 0.5f * 1.061405429f, 0.5f * -1.453152027f);
    q = __fmaf_rn(t, q, 0.5f * 1.421413741f);
    q = __fmaf_rn(t, q, 0.5f * -0.284496736f);
    q = __fmaf_rn(t, q, 0.5f * 0.254829592f);
    q = __fmul_rn(q, __fmul_rn(t, e));
    const float cumulative = z >= 0 ? __fsub_rn(1.0f, q) : q;
    y = __fmul_rn(z, cumulative);
    slope = __fmaf_rn(z, __fmul_rn(e, 0.39894228040f), cumulative);
  } else if constexpr (Kind == GRADCACHE_GELU_TANH) {
    // (1 + tanh(u)) / 2 is the logistic function of 2 u, and 1 minus that is e times it: by subtraction it
    // would lose its digits where z is large. The bound keeps e times logistic from being infinity times 0.
    constexpr float kRoot = 0.79788456080f, kCubic = 0.044715f;
    const float square = __fmul_rn(z, z);
    const float u = __fmul_rn(__fmul_rn(kRoot, z), __fmaf_rn(square, kCubic, 1.0f));
    const float e = fminf(powerOfTwo(__fmul_rn(u, -2.0f * kLog2E)), 0x1p126f);
    const float logistic = reciprocal(__fadd_rn(1.0f, e));
    y = __fmul_rn(z, logistic);
    const float inner = __fmul_rn(2.0f * kRoot, __fmaf_rn(square, 3.0f * kCubic, 1.0f));
    slope = __fmaf_rn(__fmul_rn(y, __fmul_rn(e, logistic)), inner, logistic);
  } else if constexpr (Kind == GRADCACHE_SILU) {
    // As above: 1 minus the logistic function is e times it.
    const float e = fminf(powerOfTwo(__fmul_rn(z, -kLog2E)), 0x1p126f);
    const float logistic = reciprocal(__fadd_rn(1.0f, e));
    y = __fmul_rn(z, logistic);
    slope = __fmaf_rn(y, __fmul_rn(e, logistic), logistic);
  } else {
    y = z <= 0 ? 0.0f : z;  // NaN stays NaN
    slope = z <= 0 ? 0.0f : 1.0f;
  }
}

template <class T>
__device__ __forceinline__ void loadBias(const T* bias, const ColumnPlace& place, float* values) {
  unpack(bias && place.inside ? loadConstant(bias, place.column) : zeroVector<T>(), values);
}

// Calls launch with the type and the kind as compile-time values.
template <class Launch>
cudaError_t withKind(GradcacheType type, GradcacheActivation kind, Launch&& launch) {
  return withType(type, [&](auto element) {
    switch (kind) {
      case GRADCACHE_GELU:
        return launch(element, std::integral_constant<GradcacheActivation, GRADCACHE_GELU>{});
      case GRADCACHE_GELU_TANH:
        return launch(element, std::integral_constant<GradcacheActivation, GRADCACHE_GELU_TANH>{});
      case GRADCACHE_RELU:
        return launch(element, std::integral_constant<GradcacheActivation, GRADCACHE_RELU>{});
      case GRADCACHE_SILU:
        return launch(element, std::integral_constant<GradcacheActivation, GRADCACHE_SILU>{});
    }
    return cudaErrorInvalidValue;
  });
}

}  // namespace gradcache::cuda
