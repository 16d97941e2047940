// Kernels in which a thread keeps to one vector of columns and walks down the rows, so that what belongs to
// the column (a bias, the sum of a gradient) stays in its registers.
#pragma once

#include "cuda/common.cuh"

namespace gradcache::cuda {

constexpr int kColumnThreads = 384;

// A block covers `columns` vectors of `rows` rows at a time; rows wider than its threads are cut into
// `parts`.
struct ColumnLayout {
  int vectors, columns, rows, parts, blocks;

  static ColumnLayout of(int64_t tokens, int64_t width, int rowsPerThread, int blocksPerMultiprocessor) {
    ColumnLayout layout;
    layout.vectors = static_cast<int>(width / kVectorWidth);
    layout.parts = static_cast<int>(ceilDivide(layout.vectors, kColumnThreads));
    layout.columns = static_cast<int>(ceilDivide(layout.vectors, layout.parts));
    layout.rows = kColumnThreads / layout.columns;
    const int64_t room = int64_t{multiprocessors()} * blocksPerMultiprocessor;
    layout.blocks = static_cast<int>(std::min(ceilDivide(tokens, int64_t{layout.rows} * rowsPerThread),
                                              std::max(room / layout.parts, std::min<int64_t>(room, 1))));
    return layout;
  }
  dim3 grid() const { return dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(parts)); }
  int threads() const { return columns * rows; }
};

// Where a thread of such a kernel stands.
struct ColumnPlace {
  int row, column;  // of the block's rectangle; column counts vectors of the whole row
  bool inside;      // the last part may be narrower than the others

  __device__ explicit ColumnPlace(const ColumnLayout& layout)
      : row(static_cast<int>(threadIdx.x) / layout.columns),
        column(static_cast<int>(blockIdx.y) * layout.columns +
               static_cast<int>(threadIdx.x) % layout.columns),
        inside(column < layout.vectors) {}
};

// Adds up what the block's rows of threads hold for their columns, in the order of the rows, and leaves it in
// the block's row of `partials` [blocks, width]. All threads of the block take part.
__device__ __forceinline__ void writeColumnSums(const ColumnLayout& layout, const float* sums,
                                                float* partials) {
  __shared__ float4 meeting[kColumnThreads][2];
  meeting[threadIdx.x][0] = make_float4(sums[0], sums[1], sums[2], sums[3]);
  meeting[threadIdx.x][1] = make_float4(sums[4], sums[5], sums[6], sums[7]);
  __syncthreads();
  const float* const values = &meeting[0][0].x;  // [rows, columns, 8]
  const int covered = layout.columns * kVectorWidth, width = layout.vectors * kVectorWidth;
  for (int i = threadIdx.x; i < covered; i += blockDim.x) {
    const int column = blockIdx.y * covered + i;
    if (column >= width) break;
    float sum = 0;
    for (int row = 0; row < layout.rows; ++row) sum += values[row * covered + i];
    partials[static_cast<int64_t>(blockIdx.x) * width + column] = sum;
  }
}

}  // namespace gradcache::cuda
