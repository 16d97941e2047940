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

namespace hopper {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// forEachTile for several lengths: `use` has each tile's numbers at each length, shortest first, and leaves
// them as they are but for pairs that it leaves out.
template <class Half, class Walk, class Begin, class BeginLength, class Use>
__device__ __forceinline__ void forEachLength(const CUtensorMap* rows, const CUtensorMap* columns,
                                              const Lengths& lengths, int lag, uint8_t* shared,
                                              uint8_t* memory, Walk walk, Begin begin,
                                              BeginLength beginLength, Use use) {
  const uint32_t operands = sharedAddress(shared);
  const uint32_t rank = blockOfCluster();
  const Barriers barriers(memory);
  const int blocks = lengths.ends[lengths.count - 1];
  const int warpgroup = static_cast<int>(threadIdx.x) / 128 - 1;
  if (warpgroup < 0) {
    bringOperands(rows, columns, blocks, operands, barriers, rank, walk);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    const uint32_t lane = threadIdx.x & 31;
    float numbers[128];
    Ring ring;
    bool first = true;
    lag = min(lag, min(blocks, kStages - 1));
    const int warp = static_cast<int>(threadIdx.x) / 32 - 4;
    while (walk.next()) {
      Tile tile;
      tile.row = (walk.rowStep() * kCluster + static_cast<int>(rank)) * kTileRows + warp * 16;
      tile.column = walk.columnTile() * kTileColumns;
      begin(tile);
      if (first && warpgroup == 1 && lag > 0) syncNamed(kLagBarrier, 128 * kWarpgroups);
      int k = 0;
      for (int length = 0; length < lengths.count; ++length) {
        beginLength(tile, length);
        const int from = k, end = lengths.ends[length];
        uint32_t before = 0;
        for (; k < end; ++k) {
          waitBarrier(barriers.full + ring.slot * 8, ring.phase);
          const uint32_t stage = operands + ring.slot * kStageBytes;
          const uint64_t a = describe(stage + warpgroup * (kRowBytes / kWarpgroups)),
                         b = describe(stage + kRowBytes);
          beginProducts();
#pragma unroll
          for (int part = 0; part < kDepth / 16; ++part)
            multiply<Half>(numbers, a + part * 2, b + part * 2, k > 0 || part > 0);
          commitProducts();
          if (k > from) {
            waitForProducts<1>();
            if (lane < kCluster) arriveAt(barriers.empty + before * 8, lane);
          }
          before = ring.slot;
          ring.advance();
          if (first && warpgroup == 0 && k + 1 == lag) arriveNamed(kLagBarrier, 128 * kWarpgroups);
        }
        waitForProducts<0>();
        settle(numbers);
        if (lane < kCluster) arriveAt(barriers.empty + before * 8, lane);
        use(walk, tile, numbers, length);
      }
      first = false;
    }
  }
  syncCluster();
}

#endif

}  // namespace hopper

}  // namespace gradcache::cuda
