// Tiles of sigmoids, for the products that make gradients of them.
#include "cuda/similarity_sigmoid.cuh"

namespace gradcache::cuda {

namespace {

// Adds up the pieces of each row.
__global__ void addPieces(const float* losses, const float* sums, int pieces, int stride, int rows,
                          float* rowLosses, float* rowSums) {
  const int row = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (row >= rows) return;
  float loss = 0, sum = 0;
  for (int piece = 0; piece < pieces; ++piece) {
    loss += __ldcs(losses + static_cast<int64_t>(piece) * stride + row);
    sum += __ldcs(sums + static_cast<int64_t>(piece) * stride + row);
  }
  constexpr float kLn2 = 0.693147180559945309f;
  rowLosses[row] += loss * kLn2;
  rowSums[row] += sum;
}

struct Memory {
  Scratch scratch;
  int pieces, stride;
  float *losses, *sums;

  Memory(const GradcacheScores& s, void* memory) : scratch{static_cast<uint8_t*>(memory)} {
    constexpr int kStep = kTileRows * hopper::kCluster;  // of rows; more than the other path's
    constexpr int kPieceColumns = portable::Tile::kAcross * kFragmentColumns;
    pieces = static_cast<int>(ceilDivide(s.columnCount, kTileColumns)) *
             (onHopper() ? 1 : kTileColumns / kPieceColumns);
    stride = static_cast<int>(ceilDivide(s.rowCount, kStep)) * kStep;
    losses = scratch.take<float>(int64_t{pieces} * stride);
    sums = scratch.take<float>(int64_t{pieces} * stride);
  }
};

}  // namespace

}  // namespace gradcache::cuda

size_t gradcache_scores_sigmoid_scratch(const GradcacheScores* s) {
  using namespace gradcache::cuda;
  return checkScores(s) == cudaSuccess ? reinterpret_cast<size_t>(Memory(*s, nullptr).scratch.next) : 0;
}

int gradcache_scores_sigmoid(const GradcacheScores* s, double bias, float weight, void* target, void* rest,
                             int64_t stride, float* losses, float* sums, void* scratch) {
  using namespace gradcache::cuda;
  cudaError_t code = checkScores(s);
  if (code == cudaSuccess) code = checkTarget(s, target, rest, stride);
  if (code == cudaSuccess) code = checkAligned(losses, sums, scratch);
  if (code != cudaSuccess || s->rowCount == 0 || s->columnCount == 0) return code;
  const Memory memory(*s, scratch);
  const Sigmoids sigmoids{static_cast<float>(bias * kLog2E), weight, memory.losses, memory.sums,
                          memory.stride};
  code = launchTiles(*s, scoresOf(*s), sigmoids, target, rest, stride);
  if (code != cudaSuccess) return code;
  constexpr int kThreads = 128;
  addPieces<<<static_cast<unsigned>(ceilDivide(s->rowCount, kThreads)), kThreads, 0,
              static_cast<cudaStream_t>(s->stream)>>>(
      memory.losses, memory.sums, memory.pieces, memory.stride, static_cast<int>(s->rowCount), losses, sums);
  return cudaGetLastError();
}
