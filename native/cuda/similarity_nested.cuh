// Scores at several lengths of the same rows, from one product: the sums over the first numbers of a tile's
// rows are built up from one length to the next, and used at each (Matryoshka). A score is the sum, times a
// factor of its row and one of its column at that length (what makes it a cosine), times the common factor.
// Compute capability 9.0 alone, and lengths of whole stages (similarity_hopper.cuh).
#pragma once

#include "cuda/similarity_host.cuh"

namespace gradcache::cuda {

constexpr int kMostLengths = GRADCACHE_MOST_LENGTHS;

// What a tile's numbers are where a pair is left out: so little that no factor makes it matter, and unlike
// minus infinity it can be multiplied by 0.
constexpr float kNone = -1e30f;

// With normalizers of columns, their powers below the reference are floats up to this bound, in powers of
// two.
constexpr float kMostBound = 105;

// Where the lengths end, in stages.
struct Lengths {
  int count;
  int ends[kMostLengths];
};

// Whether the kernels take these lengths on this device.
inline bool takesLengths(const GradcacheScores& s, const GradcacheLengths& lengths) {
  if (!onHopper() || lengths.count < 1 || lengths.count > kMostLengths) return false;
  int64_t before = 0;
  for (int k = 0; k < lengths.count; ++k) {
    const int64_t length = lengths.lengths[k];
    if (length <= before || length % hopper::kDepth != 0) return false;
    before = length;
  }
  return before == s.width && hasCommonReference(s);
}

inline Lengths lengthsOf(const GradcacheLengths& lengths) {
  Lengths result = {};
  result.count = lengths.count;
  for (int k = 0; k < lengths.count; ++k)
    result.ends[k] = static_cast<int>(lengths.lengths[k] / hopper::kDepth);
  return result;
}

inline int64_t wholeTiles(int64_t size) { return ceilDivide(size, kTileColumns) * kTileColumns; }

// What is left of parts of sums.
constexpr int kJoinThreads = 128;
constexpr uint32_t kAllLengths = (1u << kMostLengths) - 1;
inline dim3 joinBlocks(int64_t size, int lengths) {
  return dim3(static_cast<unsigned>(ceilDivide(size, kJoinThreads)), static_cast<unsigned>(lengths));
}
// Adds to `sums` [lengths, stride] the parts [count, lengths, partStride] of the lengths in `which`.
static __global__ void addParts(const float* parts, int count, int64_t partStride, int size, uint32_t which,
                                float* sums, int64_t stride) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= size || !(which >> blockIdx.y & 1)) return;
  float sum = 0;
  for (int p = 0; p < count; ++p)
    sum += __ldcs(parts + (int64_t{p} * gridDim.y + blockIdx.y) * partStride + i);
  sums[blockIdx.y * stride + i] += sum;
}

namespace hopper {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Gives a warpgroup its turn to multiply, which the other one has passed on.
__device__ __forceinline__ void takeTurn(int warpgroup) {
  syncNamed(kTurnBarrier + warpgroup, 128 * kWarpgroups);
}
__device__ __forceinline__ void passTurn(int warpgroup) {
  arriveNamed(kTurnBarrier + 1 - warpgroup, 128 * kWarpgroups);
}

// forEachTile for several lengths: `use` has each tile's numbers at each length, shortest first, and leaves
// them as they are but for pairs that it leaves out. The warpgroups multiply in turns, so that one uses its
// numbers while the other one multiplies. A turn ends with a length, and is no longer than there are stages
// (kCount): the other one could not give any back before its own.
template <class Half, int kCount, class Walk, class Begin, class BeginLength, class Use>
__device__ __forceinline__ void forEachLength(const CUtensorMap* rows, const CUtensorMap* columns,
                                              const Lengths& lengths, uint8_t* shared, uint8_t* memory,
                                              Walk walk, Begin begin, BeginLength beginLength, Use use) {
  static_assert(kWarpgroups == 2, "the turns are those of two");
  const uint32_t operands = sharedAddress(shared);
  const uint32_t rank = blockOfCluster();
  const Barriers<kCount> barriers(memory);
  const int blocks = lengths.ends[lengths.count - 1];
  const int warpgroup = static_cast<int>(threadIdx.x) / 128 - 1;
  if (warpgroup < 0) {
    bringOperands(rows, columns, blocks, operands, barriers, rank, walk);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    const uint32_t lane = threadIdx.x & 31;
    float numbers[128];
    Ring<kCount> ring;
    if (warpgroup == 1) passTurn(warpgroup);
    const int warp = static_cast<int>(threadIdx.x) / 32 - 4;
    while (walk.next()) {
      Tile tile;
      tile.row = (walk.rowStep() * kCluster + static_cast<int>(rank)) * kTileRows + warp * 16;
      tile.column = walk.columnTile() * kTileColumns;
      begin(tile);
      int k = 0;
      for (int length = 0; length < lengths.count; ++length) {
        beginLength(tile, length);
        do {
          const int from = k, end = min(k + kCount, lengths.ends[length]);
          uint32_t before = 0;
          takeTurn(warpgroup);
          do {
            waitBarrier(barriers.full + ring.slot * 8, ring.phase);
            multiplyStage<Half>(numbers, operands + ring.slot * kStageBytes, warpgroup, k > 0);
            waitForProducts<1>();
            if (k > from && lane < kCluster) arriveAt(barriers.empty + before * 8, lane);
            before = ring.slot;
            ring.advance();
          } while (++k < end);
          passTurn(warpgroup);
          waitForProducts<0>();
          settle(numbers);
          if (lane < kCluster) arriveAt(barriers.empty + before * 8, lane);
        } while (k < lengths.ends[length]);
        use(walk, tile, numbers, length);
      }
    }
  }
  syncCluster();
}

// Puts a fragment's sums over a warp's 16 rows, `v` (acrossRows), where the warps of a warpgroup meet: [4,
// kTileColumns].
__device__ __forceinline__ void bringSums(float (&v)[16], int warp, int lane, int across, float* meeting) {
  acrossRows(v, [](float a, float b) { return a + b; });
  *reinterpret_cast<float2*>(meeting + warp * kTileColumns + across * kFragmentColumns + lane * 2) =
      float2{v[0], v[1]};
}
// Waits for all four, and writes the sums over 64 rows of the tile's columns.
__device__ __forceinline__ void writeSums(const float* meeting, int warpgroup, int member, float* target) {
  syncNamed(kWarpgroupBarrier + warpgroup, 128);
#pragma unroll
  for (int c = member; c < kTileColumns; c += 128) {
    float sum = meeting[c];
#pragma unroll
    for (int w = 1; w < 4; ++w) sum += meeting[w * kTileColumns + c];
    target[c] = sum;
  }
}
// The sum over the four lanes that have a row.
__device__ __forceinline__ float overRow(float sum) {
  sum += __shfl_xor_sync(0xffffffffu, sum, 1);
  return sum + __shfl_xor_sync(0xffffffffu, sum, 2);
}

#endif

}  // namespace hopper

}  // namespace gradcache::cuda
