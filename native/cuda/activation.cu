// Bias and activation in one pass; the backward gives the input's gradient, the bias's and the output again
// in one.
#include "cuda/activations.cuh"

namespace gradcache::cuda {

namespace {

// Rows that a thread loads at a time.
template <class T>
constexpr int kForwardRows = Vector<T>::kPieces == 1 ? 2 : 1;
constexpr int kBackwardRows = 1;
constexpr int kForwardBlocks = 4, kBackwardBlocks = 3;

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
