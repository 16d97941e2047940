// Bias and activation in one pass; the backward gives the input's gradient, the bias's and the output again
// in one.
#include <type_traits>

#include "cuda/columns.cuh"

namespace gradcache::cuda {

namespace {

// Rows that a thread loads at a time.
template <class T>
constexpr int kForwardRows = Vector<T>::kPieces == 1 ? 2 : 1;
constexpr int kBackwardRows = 1;
constexpr int kForwardBlocks = 4, kBackwardBlocks = 3;

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
  } else {
    y = z <= 0 ? 0.0f : z;  // NaN stays NaN
    slope = z <= 0 ? 0.0f : 1.0f;
  }
}

template <class T>
__device__ __forceinline__ void loadBias(const T* bias, const ColumnPlace& place, float* values) {
  unpack(bias && place.inside ? loadConstant(bias, place.column) : zeroVector<T>(), values);
}

template <class T, GradcacheActivation Kind>
__global__ __launch_bounds__(kColumnThreads,
                             kForwardBlocks) void activationForwardKernel(const T* x, const T* bias, T* y,
                                                                          int tokens,
                                                                          const ColumnLayout layout) {
  constexpr int kRows = kForwardRows<T>;
  const ColumnPlace place(layout);
  float b[kVectorWidth];
  loadBias(bias, place, b);
  const int step = layout.rows * kRows;
  for (int first = blockIdx.x * step + place.row; place.inside && first < tokens; first += gridDim.x * step) {
    Vector<T> rows[kRows];
#pragma unroll
    for (int u = 0; u < kRows; ++u) {
      const int row = first + u * layout.rows;
      if (row < tokens) rows[u] = loadStreaming(x, static_cast<int64_t>(row) * layout.vectors + place.column);
    }
#pragma unroll
    for (int u = 0; u < kRows; ++u) {
      const int row = first + u * layout.rows;
      if (row < tokens) {
        float values[kVectorWidth];
        unpack(rows[u], values);
#pragma unroll
        for (int i = 0; i < kVectorWidth; ++i) {
          float slope;
          evaluate<Kind>(__fadd_rn(values[i], b[i]), values[i], slope);
        }
        store(y, static_cast<int64_t>(row) * layout.vectors + place.column, pack<T>(values));
      }
    }
  }
}

// dx may be dy and y may be x: a thread has read what it overwrites.
template <class T, GradcacheActivation Kind>
__global__ __launch_bounds__(kColumnThreads,
                             kBackwardBlocks) void activationBackwardKernel(const T* dy, const T* x,
                                                                            const T* bias, T* dx, T* y,
                                                                            float* partials, int tokens,
                                                                            const ColumnLayout layout) {
  const ColumnPlace place(layout);
  float b[kVectorWidth], sums[kVectorWidth] = {};
  loadBias(bias, place, b);
  const int step = layout.rows * kBackwardRows;
  for (int first = blockIdx.x * step + place.row; place.inside && first < tokens; first += gridDim.x * step) {
    Vector<T> gradients[kBackwardRows], rows[kBackwardRows];
#pragma unroll
    for (int u = 0; u < kBackwardRows; ++u) {
      const int row = first + u * layout.rows;
      if (row < tokens) {
        gradients[u] = loadStreaming(dy, static_cast<int64_t>(row) * layout.vectors + place.column);
        rows[u] = loadStreaming(x, static_cast<int64_t>(row) * layout.vectors + place.column);
      }
    }
#pragma unroll
    for (int u = 0; u < kBackwardRows; ++u) {
      const int row = first + u * layout.rows;
      if (row < tokens) {
        const int64_t at = static_cast<int64_t>(row) * layout.vectors + place.column;
        float d[kVectorWidth], values[kVectorWidth];
        unpack(gradients[u], d);
        unpack(rows[u], values);
#pragma unroll
        for (int i = 0; i < kVectorWidth; ++i) {
          float slope;
          evaluate<Kind>(__fadd_rn(values[i], b[i]), values[i], slope);
          d[i] *= slope;
          sums[i] += d[i];
        }
        store(dx, at, pack<T>(d));
        if (y) store(y, at, pack<T>(values));
      }
    }
  }
  writeColumnSums(layout, sums, partials);
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
    }
    return cudaErrorInvalidValue;
  });
}

ColumnLayout backwardLayout(const GradcacheRows& rows) {
  return ColumnLayout::of(rows.tokens, rows.width, kBackwardRows, kBackwardBlocks);
}

}  // namespace

}  // namespace gradcache::cuda

using namespace gradcache::cuda;

int gradcache_activation_forward(const GradcacheRows* rows, GradcacheActivation kind, const void* x,
                                 const void* bias, void* y) {
  if (cudaError_t error = checkRows(rows)) return error;
  if (cudaError_t error = checkAligned(x, bias, y)) return error;
  if (rows->tokens == 0) return cudaSuccess;
  return withKind(rows->type, kind, [&](auto type, auto constant) {
    using T = decltype(type);
    const ColumnLayout layout = ColumnLayout::of(rows->tokens, rows->width, kForwardRows<T>, kForwardBlocks);
    if (layout.blocks == 0) return cudaErrorNoDevice;
    activationForwardKernel<T, decltype(constant)::value>
        <<<layout.grid(), layout.threads(), 0, static_cast<cudaStream_t>(rows->stream)>>>(
            static_cast<const T*>(x), static_cast<const T*>(bias), static_cast<T*>(y),
            static_cast<int>(rows->tokens), layout);
    return cudaGetLastError();
  });
}

size_t gradcache_activation_backward_scratch(const GradcacheRows* rows) {
  if (checkRows(rows)) return 0;
  return static_cast<size_t>(backwardLayout(*rows).blocks * rows->width) * sizeof(float);
}

int gradcache_activation_backward(const GradcacheRows* rows, GradcacheActivation kind, const void* dy,
                                  const void* x, const void* bias, void* dx, void* y, float* biasGradient,
                                  void* scratch) {
  if (cudaError_t error = checkRows(rows)) return error;
  if (cudaError_t error = checkAligned(dy, x, bias, dx, y, scratch)) return error;
  if (rows->tokens == 0) return cudaSuccess;
  const ColumnLayout layout = backwardLayout(*rows);
  if (layout.blocks == 0) return cudaErrorNoDevice;
  const auto stream = static_cast<cudaStream_t>(rows->stream);
  float* const partials = static_cast<float*>(scratch);
  const cudaError_t error = withKind(rows->type, kind, [&](auto type, auto constant) {
    using T = decltype(type);
    activationBackwardKernel<T, decltype(constant)::value><<<layout.grid(), layout.threads(), 0, stream>>>(
        static_cast<const T*>(dy), static_cast<const T*>(x), static_cast<const T*>(bias), static_cast<T*>(dx),
        static_cast<T*>(y), partials, static_cast<int>(rows->tokens), layout);
    return cudaGetLastError();
  });
  if (error) return error;
  return addPartialSums(partials, layout.blocks, static_cast<int>(rows->width),
                        {{biasGradient, nullptr, nullptr}, 1}, stream);
}
