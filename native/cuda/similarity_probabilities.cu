// Tiles of probabilities, for the products that make gradients of them.
#include "cuda/similarity_host.cuh"
#include "cuda/similarity_probabilities.cuh"

namespace gradcache::cuda {

namespace {

constexpr int kStoreBytes = kFragmentRows * kFragmentColumns * 2;  // a fragment in half precision
constexpr size_t kWeightBytes = kTileColumns * sizeof(float);      // of the columns of a warpgroup's tile
constexpr size_t kHopperBytes = hopper::kOperandBytes +
                                hopper::kWarpgroups * (4 * 2 * kStoreBytes + kWeightBytes) +
                                hopper::kBarrierBytes;
constexpr size_t kPortableBytes = portable::kOperandBytes;
[[maybe_unused]] constexpr int kLag = 3;  // forEachTile; measured

template <class Half, bool kBoth>
__global__ __launch_bounds__(hopper::kThreads, 1) void hopperProbabilities(
    const __grid_constant__ CUtensorMap rows, const __grid_constant__ CUtensorMap columns,
    const __grid_constant__ CUtensorMap target, const __grid_constant__ Scores scores,
    const __grid_constant__ ProbabilityWeights weights, uint16_t* data, int64_t stride, int steps,
    int columnTiles) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t shared[];
  const int thread = static_cast<int>(threadIdx.x) - 128, lane = thread & 31, warpgroup = thread / 128;
  // Two fragments a warp: one is written while the other is filled.
  const uint32_t memory = sharedAddress(shared) + hopper::kOperandBytes + thread / 32 * 2 * kStoreBytes;
  uint8_t* const behind = shared + hopper::kOperandBytes + hopper::kWarpgroups * 4 * 2 * kStoreBytes;
  float* const columnWeights = reinterpret_cast<float*>(behind + (warpgroup > 0 ? kWeightBytes : 0));
  const bool apart = kBoth && *weights.apart != 0, powers = kBoth && !apart;
  const float* const ofRows = powers ? weights.rows.powers : weights.rows.normalizers;
  const float* const ofColumns = powers ? weights.columns.powers : weights.columns.normalizers;
  const int cluster = static_cast<int>(blockIdx.x) / hopper::kCluster;
  const int clusters = static_cast<int>(gridDim.x) / hopper::kCluster;
  // Where this lane's row of a matrix lies: matrices are rows 0 to 7 and 8 to 15 of one eight columns, then
  // of the next.
  const uint32_t matrixRow = (lane & 7) + (lane & 8), matrixPiece = lane / 16;
  LeftOut<WarpTile<1, 4>> leftOut;
  float own[2];
  float2 loaded;
  hopper::forEachTile<Half>(
      &rows, &columns, scores.width, kLag, shared, behind + hopper::kWarpgroups * kWeightBytes,
      TileWalk(steps, columnTiles, cluster, clusters),
      [&](const WarpTile<1, 4>& tile) {
        leftOut.load(scores, tile);
        own[0] = ofRows[tile.rowOf(0)];
        own[1] = ofRows[tile.rowOf(0) + 8];
        if (kBoth) loaded = *reinterpret_cast<const float2*>(ofColumns + tile.column + thread % 128 * 2);
      },
      [&](const TileWalk&, const WarpTile<1, 4>& tile, float(&numbers)[128]) {
        if (kBoth) {
          hopper::syncNamed(hopper::kWarpgroupBarrier + warpgroup,
                            128);  // all have used those of the tile before
          *reinterpret_cast<float2*>(columnWeights + thread % 128 * 2) = loaded;
          hopper::syncNamed(hopper::kWarpgroupBarrier + warpgroup, 128);
        }
        leftOut.apply(scores, tile, numbers);
#pragma unroll
        for (int across = 0; across < 4; ++across) {
          uint32_t packed[16];
          probabilitiesOf<Half, kBoth>(scores, apart, numbers + across * kFragmentNumbers, own,
                                       columnWeights + across * kFragmentColumns, packed);
          const int column = tile.column + across * kFragmentColumns;
          // The copy engine writes whole pieces of eight columns. Those of an edge within a piece are written
          // here, so that nothing beyond the edge is.
          const bool uneven = scores.columns % 8 != 0 && column < scores.columns &&
                              column + kFragmentColumns > scores.columns;
          if (uneven) storeFragment(scores, packed, tile.rowOf(0), tile.columnOf(across, 0), data, stride);
          const uint32_t buffer = memory + across % 2 * kStoreBytes;
          if (lane == 0) hopper::waitForReads<1>();
          __syncwarp();
#pragma unroll
          for (int k = 0; k < 8; k += 2)
            kernels::cuda::storeMatrices(
                buffer + matrixRow * 128 + (((k + matrixPiece) ^ (matrixRow & 7)) << 4), packed[2 * k],
                packed[2 * k + 1], packed[2 * k + 2], packed[2 * k + 3]);
          hopper::publishToCopies();
          __syncwarp();
          if (lane == 0) {
            if (!uneven) hopper::storeTile(&target, buffer, column, tile.row);
            hopper::commitStores();
          }
        }
      });
  // A block's shared memory must outlive its copies.
  if (thread >= 0 && lane == 0) hopper::waitForStores();
#endif
}

template <class Half, bool kBoth>
__global__ __launch_bounds__(portable::kThreads,
                             1) void portableProbabilities(const portable::Operands operands,
                                                           const Scores scores,
                                                           const ProbabilityWeights weights, uint16_t* target,
                                                           int64_t stride, int steps, int columnTiles) {
  extern __shared__ __align__(1024) uint8_t shared[];
  const bool apart = kBoth && *weights.apart != 0, powers = kBoth && !apart;
  const float* const ofRows = powers ? weights.rows.powers : weights.rows.normalizers;
  const float* const ofColumns = powers ? weights.columns.powers : weights.columns.normalizers;
  portable::forEachTile<Half>(
      operands, scores, shared,
      TileWalk(steps, columnTiles, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x)),
      [&](const TileWalk&, const portable::Tile& tile, float(&numbers)[portable::Tile::kNumbers]) {
        LeftOut<portable::Tile> leftOut;
        leftOut.load(scores, tile);
        leftOut.apply(scores, tile, numbers);
#pragma unroll
        for (int down = 0; down < portable::Tile::kDown; ++down) {
          const int row = tile.rowOf(down);
          const float own[2] = {ofRows[row], ofRows[row + 8]};
          uint32_t packed[16];
          probabilitiesOf<Half, kBoth>(scores, apart, numbers + portable::Tile::fragment(down, 0), own,
                                       ofColumns + tile.column, packed);
          storeFragment(scores, packed, row, tile.columnOf(0, 0), target, stride);
        }
      });
}

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

template <class Half, bool kBoth>
cudaError_t launch(const GradcacheScores& s, const Scores& scores, const ProbabilityWeights& weights,
                   void* target, int64_t stride) {
  const auto stream = static_cast<cudaStream_t>(s.stream);
  const int columnTiles = static_cast<int>(ceilDivide(s.columnCount, kTileColumns));
  if (onHopper()) {
    const auto kernel = &hopperProbabilities<Half, kBoth>;
    CUtensorMap rows, columns, result;
    int clusters = 0;
    cudaError_t code = allowSharedMemory(reinterpret_cast<const void*>(kernel), kHopperBytes);
    if (code == cudaSuccess)
      code = hopper::residentClusters(reinterpret_cast<const void*>(kernel), kHopperBytes, &clusters);
    if (code == cudaSuccess)
      code = hopper::describeMatrix(&rows, s.type, s.rows, s.rowCount, s.width, s.rowStride, kTileRows,
                                    hopper::kDepth);
    if (code == cudaSuccess)
      code = hopper::describeMatrix(&columns, s.type, s.columns, s.columnCount, s.width, s.columnStride,
                                    hopper::kHalfColumns, hopper::kDepth);
    if (code == cudaSuccess)
      code = hopper::describeMatrix(&result, s.type, target, s.rowCount, s.columnCount, stride, kFragmentRows,
                                    kFragmentColumns);
    if (code != cudaSuccess) return code;
    const int steps = static_cast<int>(ceilDivide(s.rowCount, kTileRows * hopper::kCluster));
    return launchClusters(kernel, static_cast<int>(std::min<int64_t>(int64_t{steps} * columnTiles, clusters)),
                          kHopperBytes, stream, rows, columns, result, scores, weights,
                          static_cast<uint16_t*>(target), stride, steps, columnTiles);
  }
  const auto kernel = &portableProbabilities<Half, kBoth>;
  if (cudaError_t code = allowSharedMemory(reinterpret_cast<const void*>(kernel), kPortableBytes))
    return code;
  const int steps = static_cast<int>(ceilDivide(s.rowCount, kTileRows));
  const int64_t blocks = std::min<int64_t>(int64_t{steps} * columnTiles, multiprocessors());
  const portable::Operands operands{s.rows, s.columns, s.rowStride, s.columnStride};
  kernel<<<static_cast<unsigned>(blocks), portable::kThreads, kPortableBytes, stream>>>(
      operands, scores, weights, static_cast<uint16_t*>(target), stride, steps, columnTiles);
  return cudaGetLastError();
}

}  // namespace

}  // namespace gradcache::cuda

size_t gradcache_scores_probabilities_scratch(const GradcacheScores* s) {
  using namespace gradcache::cuda;
  return checkScores(s) == cudaSuccess ? reinterpret_cast<size_t>(Memory(*s, nullptr).scratch.next) : 0;
}

int gradcache_scores_probabilities(const GradcacheScores* s, const float* rowNormalizers,
                                   const float* columnNormalizers, void* target, int64_t stride,
                                   void* scratch) {
  using namespace gradcache::cuda;
  cudaError_t code = checkScores(s);
  if (code == cudaSuccess) code = checkAligned(target, scratch);
  if (code == cudaSuccess && (stride < s->columnCount || stride % 8 != 0)) code = cudaErrorInvalidValue;
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
  const ProbabilityWeights weights{memory.rows.weights(), memory.columns.weights(), memory.apart};
  if (s->type == GRADCACHE_BFLOAT16)
    return both ? launch<bfloat16, true>(*s, scores, weights, target, stride)
                : launch<bfloat16, false>(*s, scores, weights, target, stride);
  return both ? launch<float16, true>(*s, scores, weights, target, stride)
              : launch<float16, false>(*s, scores, weights, target, stride);
}
