#include "cuda/common.cuh"

namespace gradcache::cuda {

namespace {

constexpr int kColumns = 32, kRows = 32;

// One block for 32 columns of one target; thread row r adds up every 32nd block's sums from r on, then row 0
// adds the rows.
__global__ __launch_bounds__(kColumns* kRows) void addPartialSumsKernel(const float* partials, int blocks,
                                                                        int width, SumTargets targets) {
  __shared__ float sums[kRows][kColumns + 1];
  float* target = blockIdx.y == 0   ? targets.target[0]
                  : blockIdx.y == 1 ? targets.target[1]
                                    : targets.target[2];
  if (!target) return;
  const int column = blockIdx.x * kColumns + threadIdx.x;
  const int64_t stride = static_cast<int64_t>(targets.count) * width;
  float sum = 0;
  if (column < width) {
    const float* from = partials + static_cast<int64_t>(blockIdx.y) * width + column;
#pragma unroll 4
    for (int block = threadIdx.y; block < blocks; block += kRows) sum += __ldcs(from + block * stride);
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= width) return;
  float total = 0;
#pragma unroll
  for (int row = 0; row < kRows; ++row) total += sums[row][threadIdx.x];
  target[column] += total;
}

}  // namespace

cudaError_t addPartialSums(const float* partials, int blocks, int width, const SumTargets& targets,
                           cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(ceilDivide(width, kColumns)), static_cast<unsigned>(targets.count));
  addPartialSumsKernel<<<grid, dim3(kColumns, kRows), 0, stream>>>(partials, blocks, width, targets);
  return cudaGetLastError();
}

}  // namespace gradcache::cuda
