// Tiles of probabilities, for the products that make gradients of them.
#include "cuda/similarity_probabilities.cuh"

namespace gradcache::cuda {

namespace {

// Weights up to whole tiles, and whether some normalizer is too far from the reference.
__global__ void prepareWeights(const float* normalizers, int size, int padded, float reference,
                               float* padding, float* powers, int* apart) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= padded) return;
  const float normalizer = i < size ? normalizers[i] : infinite();
  // Within these, no probability that half precision holds is lost, and none overflows.
  if (normalizer != infinite() && !(normalizer - reference >= -70.0f && normalizer - reference <= 120.0f))
    *apart = 1;
  padding[i] = normalizer;
  powers[i] = powerOfTwo(reference - normalizer);
}

// Memory for the weights of rows or columns.
struct WeightMemory {
  float *normalizers, *powers;

  static int64_t padded(int64_t size) { return ceilDivide(size, kTileColumns) * kTileColumns; }
  WeightMemory(Scratch& scratch, int64_t size)
      : normalizers(scratch.take<float>(padded(size))), powers(scratch.take<float>(padded(size))) {}
  Weights weights() const { return {normalizers, powers}; }
};

cudaError_t prepare(const float* normalizers, int64_t size, float reference, const WeightMemory& memory,
                    int* apart, cudaStream_t stream) {
  constexpr int kThreads = 256;
  const int64_t padded = WeightMemory::padded(size);
  prepareWeights<<<static_cast<unsigned>(ceilDivide(padded, kThreads)), kThreads, 0, stream>>>(
      normalizers, static_cast<int>(size), static_cast<int>(padded), reference, memory.normalizers,
      memory.powers, apart);
  return cudaGetLastError();
}

struct Memory {
  Scratch scratch;
  int* apart;
  WeightMemory rows, columns;

  Memory(const GradcacheScores& s, void* memory)
      : scratch{static_cast<uint8_t*>(memory)},
        apart(scratch.take<int>(1)),
        rows(scratch, s.rowCount),
        columns(scratch, s.columnCount) {}
};

}  // namespace

}  // namespace gradcache::cuda

size_t gradcache_scores_probabilities_scratch(const GradcacheScores* s) {
  using namespace gradcache::cuda;
  return checkScores(s) == cudaSuccess ? reinterpret_cast<size_t>(Memory(*s, nullptr).scratch.next) : 0;
}

int gradcache_scores_probabilities(const GradcacheScores* s, const float* rowNormalizers,
                                   const float* columnNormalizers, void* target, void* rest, int64_t stride,
                                   void* scratch) {
  using namespace gradcache::cuda;
  cudaError_t code = checkScores(s);
  if (code == cudaSuccess) code = checkTarget(s, target, rest, stride);
  if (code == cudaSuccess) code = checkAligned(scratch);
  if (code != cudaSuccess || s->rowCount == 0 || s->columnCount == 0) return code;
  const Scores scores = scoresOf(*s);
  const Memory memory(*s, scratch);
  const auto stream = static_cast<cudaStream_t>(s->stream);
  const bool both = columnNormalizers != nullptr;
  code = cudaMemsetAsync(memory.apart, both && !hasCommonReference(*s), sizeof(int), stream);
  if (code == cudaSuccess)
    code = prepare(rowNormalizers, s->rowCount, scores.reference, memory.rows, memory.apart, stream);
  if (code == cudaSuccess && both)
    code = prepare(columnNormalizers, s->columnCount, scores.reference, memory.columns, memory.apart, stream);
  if (code != cudaSuccess) return code;
  const Weights rows = memory.rows.weights(), columns = memory.columns.weights();
  if (both)
    return launchTiles(*s, scores, Probabilities<true>{rows, columns, memory.apart}, target, rest, stride);
  return launchTiles(*s, scores, Probabilities<false>{rows, columns, memory.apart}, target, rest, stride);
}
