// Gated activations with their biases in one pass; the backward gives the gradient of both halves, those of
// their biases and the output again in one.
#include "cuda/activations.cuh"

namespace gradcache::cuda {

namespace {

constexpr int kForwardBlocks = 4, kBackwardBlocks = 2;

// Where the halves of a row lie, in vectors.
struct Halves {
  int gate, up;

  static Halves of(int64_t width, int gateFirst) {
    const int vectors = static_cast<int>(width / kVectorWidth);
    return gateFirst ? Halves{0, vectors} : Halves{vectors, 0};
  }
};

template <class T>
__device__ __forceinline__ void loadHalfBias(const T* bias, const ColumnPlace& place, int half,
                                             float* values) {
  unpack(bias && place.inside ? loadConstant(bias, half + place.column) : zeroVector<T>(), values);
}

template <class T, GradcacheActivation Kind>
__global__ __launch_bounds__(kColumnThreads,
                             kForwardBlocks) void gateForwardKernel(const T* x, const T* bias, T* y,
                                                                    int yVectors, int tokens, Halves halves,
                                                                    const ColumnLayout layout) {
  const ColumnPlace place(layout);
  float gateBias[kVectorWidth], upBias[kVectorWidth];
  loadHalfBias(bias, place, halves.gate, gateBias);
  loadHalfBias(bias, place, halves.up, upBias);
  for (int row = blockIdx.x * layout.rows + place.row; place.inside && row < tokens;
       row += gridDim.x * layout.rows) {
    const int64_t start = int64_t{2} * row * layout.vectors + place.column;
    float gate[kVectorWidth], up[kVectorWidth];
    unpack(loadStreaming(x, start + halves.gate), gate);
    unpack(loadStreaming(x, start + halves.up), up);
#pragma unroll
    for (int i = 0; i < kVectorWidth; ++i) {
      float value, slope;
      evaluate<Kind>(__fadd_rn(gate[i], gateBias[i]), value, slope);
      gate[i] = __fmul_rn(value, __fadd_rn(up[i], upBias[i]));
    }
    store(y, static_cast<int64_t>(row) * yVectors + place.column, pack<T>(gate));
  }
}

// dx may be x where its rows lie as those of x: a thread has read what it overwrites.
template <class T, GradcacheActivation Kind>
__global__ __launch_bounds__(kColumnThreads, kBackwardBlocks) void gateBackwardKernel(
    const T* dy, const T* x, const T* bias, T* dx, int dxVectors, T* y, float* gatePartials,
    float* upPartials, int tokens, Halves halves, const ColumnLayout layout) {
  const ColumnPlace place(layout);
  float gateBias[kVectorWidth], upBias[kVectorWidth], gateSums[kVectorWidth] = {}, upSums[kVectorWidth] = {};
  loadHalfBias(bias, place, halves.gate, gateBias);
  loadHalfBias(bias, place, halves.up, upBias);
  for (int row = blockIdx.x * layout.rows + place.row; place.inside && row < tokens;
       row += gridDim.x * layout.rows) {
    const int64_t at = static_cast<int64_t>(row) * layout.vectors + place.column;
    const int64_t start = int64_t{2} * row * layout.vectors + place.column;
    float d[kVectorWidth], gate[kVectorWidth], up[kVectorWidth];
    unpack(loadStreaming(dy, at), d);
    unpack(loadStreaming(x, start + halves.gate), gate);
    unpack(loadStreaming(x, start + halves.up), up);
#pragma unroll
    for (int i = 0; i < kVectorWidth; ++i) {
      float value, slope;
      evaluate<Kind>(__fadd_rn(gate[i], gateBias[i]), value, slope);
      const float through = __fadd_rn(up[i], upBias[i]);
      gate[i] = d[i] * through * slope;
      up[i] = d[i] * value;
      d[i] = __fmul_rn(value, through);
      gateSums[i] += gate[i];
      upSums[i] += up[i];
    }
    const int64_t to = static_cast<int64_t>(row) * dxVectors + place.column;
    store(dx, to + halves.gate, pack<T>(gate));
    store(dx, to + halves.up, pack<T>(up));
    if (y) store(y, at, pack<T>(d));
  }
  writeColumnSums(layout, gateSums, gatePartials);
  __syncthreads();
  writeColumnSums(layout, upSums, upPartials);
}

ColumnLayout backwardLayout(const GradcacheRows& rows) {
  return ColumnLayout::of(rows.tokens, rows.width, 1, kBackwardBlocks);
}

}  // namespace

}  // namespace gradcache::cuda

using namespace gradcache::cuda;

int gradcache_gate_forward(const GradcacheRows* rows, GradcacheActivation kind, int gateFirst, const void* x,
                           const void* bias, void* y, int64_t yStride) {
  if (cudaError_t error = checkRows(rows)) return error;
  if (cudaError_t error = checkAligned(x, bias, y)) return error;
  if (cudaError_t error = checkStride(yStride, rows->width)) return error;
  if (rows->tokens == 0) return cudaSuccess;
  return withKind(rows->type, kind, [&](auto type, auto constant) {
    using T = decltype(type);
    const ColumnLayout layout = ColumnLayout::of(rows->tokens, rows->width, 1, kForwardBlocks);
    if (layout.blocks == 0) return cudaErrorNoDevice;
    gateForwardKernel<T, decltype(constant)::value>
        <<<layout.grid(), layout.threads(), 0, static_cast<cudaStream_t>(rows->stream)>>>(
            static_cast<const T*>(x), static_cast<const T*>(bias), static_cast<T*>(y),
            static_cast<int>(yStride / kVectorWidth), static_cast<int>(rows->tokens),
            Halves::of(rows->width, gateFirst), layout);
    return cudaGetLastError();
  });
}

size_t gradcache_gate_backward_scratch(const GradcacheRows* rows) {
  if (checkRows(rows)) return 0;
  return static_cast<size_t>(2 * backwardLayout(*rows).blocks * rows->width) * sizeof(float);
}

int gradcache_gate_backward(const GradcacheRows* rows, GradcacheActivation kind, int gateFirst,
                            const void* dy, const void* x, const void* bias, void* dx, int64_t dxStride,
                            void* y, float* biasGradient, void* scratch) {
  if (cudaError_t error = checkRows(rows)) return error;
  if (cudaError_t error = checkAligned(dy, x, bias, dx, y, scratch)) return error;
  if (cudaError_t error = checkStride(dxStride, 2 * rows->width)) return error;
  if (rows->tokens == 0) return cudaSuccess;
  const ColumnLayout layout = backwardLayout(*rows);
  if (layout.blocks == 0) return cudaErrorNoDevice;
  const auto stream = static_cast<cudaStream_t>(rows->stream);
  float* const gatePartials = static_cast<float*>(scratch);
  float* const upPartials = gatePartials + static_cast<int64_t>(layout.blocks) * rows->width;
  const Halves halves = Halves::of(rows->width, gateFirst);
  const cudaError_t error = withKind(rows->type, kind, [&](auto type, auto constant) {
    using T = decltype(type);
    gateBackwardKernel<T, decltype(constant)::value><<<layout.grid(), layout.threads(), 0, stream>>>(
        static_cast<const T*>(dy), static_cast<const T*>(x), static_cast<const T*>(bias), static_cast<T*>(dx),
        static_cast<int>(dxStride / kVectorWidth), static_cast<T*>(y), gatePartials, upPartials,
        static_cast<int>(rows->tokens), halves, layout);
    return cudaGetLastError();
  });
  if (error || !biasGradient) return error;
  const int width = static_cast<int>(rows->width);
  if (cudaError_t failed =
          addPartialSums(gatePartials, layout.blocks, width,
                         {{biasGradient + halves.gate * kVectorWidth, nullptr, nullptr}, 1}, stream))
    return failed;
  return addPartialSums(upPartials, layout.blocks, width,
                        {{biasGradient + halves.up * kVectorWidth, nullptr, nullptr}, 1}, stream);
}
