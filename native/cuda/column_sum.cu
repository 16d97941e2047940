// The sum over tokens of a matrix: the gradient of a bias.
#include "cuda/columns.cuh"

namespace gradcache::cuda {

namespace {

constexpr int kRowsPerThread = 8, kBlocks = 4;

template <class T>
__global__ __launch_bounds__(kColumnThreads) void columnSumKernel(const T* x, float* partials, int tokens,
                                                                  const ColumnLayout layout) {
  const ColumnPlace place(layout);
  float sums[kVectorWidth] = {};
  const int step = layout.rows * kRowsPerThread;
  for (int first = blockIdx.x * step + place.row; place.inside && first < tokens; first += gridDim.x * step) {
    Vector<T> rows[kRowsPerThread];
#pragma unroll
    for (int u = 0; u < kRowsPerThread; ++u) {
      const int row = first + u * layout.rows;
      rows[u] = zeroVector<T>();
      if (row < tokens) rows[u] = loadStreaming(x, static_cast<int64_t>(row) * layout.vectors + place.column);
    }
#pragma unroll
    for (int u = 0; u < kRowsPerThread; ++u) {
      float values[kVectorWidth];
      unpack(rows[u], values);
#pragma unroll
      for (int i = 0; i < kVectorWidth; ++i) sums[i] += values[i];
    }
  }
  writeColumnSums(layout, sums, partials);
}

ColumnLayout layoutOf(const GradcacheRows& rows) {
  return ColumnLayout::of(rows.tokens, rows.width, kRowsPerThread, kBlocks);
}

}  // namespace

}  // namespace gradcache::cuda

using namespace gradcache::cuda;

size_t gradcache_column_sum_scratch(const GradcacheRows* rows) {
  if (checkRows(rows)) return 0;
  return static_cast<size_t>(layoutOf(*rows).blocks * rows->width) * sizeof(float);
}

int gradcache_column_sum(const GradcacheRows* rows, const void* x, float* gradient, void* scratch) {
  if (cudaError_t error = checkRows(rows)) return error;
  if (cudaError_t error = checkAligned(x, scratch)) return error;
  if (rows->tokens == 0) return cudaSuccess;
  const ColumnLayout layout = layoutOf(*rows);
  if (layout.blocks == 0) return cudaErrorNoDevice;
  const auto stream = static_cast<cudaStream_t>(rows->stream);
  float* const partials = static_cast<float*>(scratch);
  const cudaError_t error = withType(rows->type, [&](auto type) {
    using T = decltype(type);
    columnSumKernel<T><<<layout.grid(), layout.threads(), 0, stream>>>(
        static_cast<const T*>(x), partials, static_cast<int>(rows->tokens), layout);
    return cudaGetLastError();
  });
  if (error) return error;
  return addPartialSums(partials, layout.blocks, static_cast<int>(rows->width),
                        {{gradient, nullptr, nullptr}, 1}, stream);
}
