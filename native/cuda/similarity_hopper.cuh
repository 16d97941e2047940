// Tiles of products on compute capability 9.0. A cluster of two blocks takes 256 rows x 256 columns: 128 rows
// a block, and the columns for both. One thread brings operands in by TMA, half of the columns for both
// blocks; two warpgroups multiply 64 rows each (wgmma 64 x 256 x 16) and use their tile while the other one
// still multiplies.
#pragma once

#include <cuda.h>

#include <type_traits>

#include "cuda/similarity.cuh"

namespace gradcache::cuda::hopper {

constexpr int kCluster = 2, kWarpgroups = 2, kThreads = 128 * (kWarpgroups + 1);
constexpr int kDepth = 64;  // of a stage: 128 bytes a row, as wide as the swizzle
constexpr int kStages = 4;
constexpr uint32_t kRowBytes = kTileRows * kDepth * 2, kColumnBytes = kTileColumns * kDepth * 2;
constexpr uint32_t kStageBytes = kRowBytes + kColumnBytes;
constexpr uint32_t kHalfColumns = kTileColumns / kCluster, kHalfColumnBytes = kColumnBytes / kCluster;
constexpr uint32_t kOperandBytes = kStages * kStageBytes;
constexpr uint32_t kBarrierBytes = 2 * kStages * 8;
// Named barriers; 0 is __syncthreads'.
enum : int { kLagBarrier = 1, kWarpgroupBarrier = 2, kTurnBarrier = kWarpgroupBarrier + kWarpgroups };

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

using Tile = WarpTile<1, 4>;

// ---- barriers

__device__ __forceinline__ void initBarrier(uint32_t barrier, uint32_t count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}
__device__ __forceinline__ void waitBarrier(uint32_t barrier, uint32_t parity) {
  uint32_t done;
  do {
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n"
        "}\n"
        : "=r"(done)
        : "r"(barrier), "r"(parity)
        : "memory");
  } while (!done);
}
__device__ __forceinline__ void expectBytes(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
// Nothing was written that would have to be seen there, so that this needs no fence of the cluster's scope.
__device__ __forceinline__ void arriveAt(uint32_t barrier, uint32_t block) {
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
      "}\n" ::"r"(barrier),
      "r"(block)
      : "memory");
}
__device__ __forceinline__ uint32_t blockOfCluster() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ __forceinline__ void syncCluster() {
  __syncwarp();
  asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}
__device__ __forceinline__ void syncNamed(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
__device__ __forceinline__ void arriveNamed(int barrier, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

// ---- copies

__device__ __forceinline__ void load(uint32_t target, const CUtensorMap* map, uint32_t barrier, int x,
                                     int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], "
      "[%2];" ::"r"(target),
      "l"(map), "r"(barrier), "r"(x), "r"(y)
      : "memory");
}
__device__ __forceinline__ void loadForCluster(uint32_t target, const CUtensorMap* map, uint32_t barrier,
                                               int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%3, %4}], [%2], %5;" ::"r"(target),
      "l"(map), "r"(barrier), "r"(x), "r"(y), "h"(static_cast<uint16_t>((1 << kCluster) - 1))
      : "memory");
}
__device__ __forceinline__ void addTile(const CUtensorMap* map, uint32_t source, int x, int y) {
  asm volatile(
      "cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
      "r"(source), "r"(x), "r"(y)
      : "memory");
}
__device__ __forceinline__ void storeTile(const CUtensorMap* map, uint32_t source, int x, int y) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
               "r"(source), "r"(x), "r"(y)
               : "memory");
}
// Ends a group of this thread's stores, which may be empty.
__device__ __forceinline__ void commitStores() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Until at most `kPending` of this thread's groups of stores still read shared memory.
template <int kPending>
__device__ __forceinline__ void waitForReads() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}
__device__ __forceinline__ void waitForStores() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }
// What this thread wrote to shared memory is seen by copies that start behind the next barrier.
__device__ __forceinline__ void publishToCopies() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// ---- products

__device__ __forceinline__ uint64_t describe(uint32_t address) {
  constexpr uint64_t kEightRows = uint64_t{1024 >> 4} << 32, kSwizzle128 = uint64_t{1} << 62;
  return ((address & 0x3ffff) >> 4) | uint64_t{1} << 16 | kEightRows | kSwizzle128;
}
__device__ __forceinline__ void beginProducts() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commitProducts() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void waitForProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Keeps the compiler from reading the numbers before the products are waited for.
template <int kCount>
__device__ __forceinline__ void settle(float (&numbers)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(numbers[i])::"memory");
}

#define GRADCACHE_TEN(i) \
  "%" #i "0, %" #i "1, %" #i "2, %" #i "3, %" #i "4, %" #i "5, %" #i "6, %" #i "7, %" #i "8, %" #i "9, "
#define GRADCACHE_NUMBERS                                                                                   \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, " GRADCACHE_TEN(1) GRADCACHE_TEN(2) GRADCACHE_TEN(3)            \
      GRADCACHE_TEN(4) GRADCACHE_TEN(5) GRADCACHE_TEN(6) GRADCACHE_TEN(7) GRADCACHE_TEN(8) GRADCACHE_TEN(9) \
          GRADCACHE_TEN(10) GRADCACHE_TEN(11) "%120, %121, %122, %123, %124, %125, %126, %127}, "
#define GRADCACHE_OUT4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define GRADCACHE_OUT16(i) \
  GRADCACHE_OUT4(i), GRADCACHE_OUT4(i + 4), GRADCACHE_OUT4(i + 8), GRADCACHE_OUT4(i + 12)
#define GRADCACHE_OUT128                                                                                  \
  GRADCACHE_OUT16(0), GRADCACHE_OUT16(16), GRADCACHE_OUT16(32), GRADCACHE_OUT16(48), GRADCACHE_OUT16(64), \
      GRADCACHE_OUT16(80), GRADCACHE_OUT16(96), GRADCACHE_OUT16(112)
#define GRADCACHE_MULTIPLY(type)                                                                     \
  asm volatile(                                                                                      \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\nwgmma.mma_async.sync.aligned.m64n256k16.f32." type \
      "." type " " GRADCACHE_NUMBERS "%128, %129, p, 1, 1, 0, 0;\n}\n"                               \
      : GRADCACHE_OUT128                                                                             \
      : "l"(a), "l"(b), "r"(add))

// d = a b, or d += a b where `add` is not 0: 64 x 256 numbers of 16 products each.
template <class Half>
__device__ __forceinline__ void multiply(float (&d)[128], uint64_t a, uint64_t b, int add) {
  if constexpr (sizeof(Half) == 2 && std::is_same<Half, bfloat16>::value)
    GRADCACHE_MULTIPLY("bf16");
  else
    GRADCACHE_MULTIPLY("f16");
}

#undef GRADCACHE_TEN
#undef GRADCACHE_NUMBERS
#undef GRADCACHE_OUT4
#undef GRADCACHE_OUT16
#undef GRADCACHE_OUT128
#undef GRADCACHE_MULTIPLY

// Starts the products of a stage, kDepth numbers of each row; `add`: to what is there.
template <class Half>
__device__ __forceinline__ void multiplyStage(float (&numbers)[128], uint32_t stage, int warpgroup,
                                              bool add) {
  const uint64_t a = describe(stage + warpgroup * (kRowBytes / kWarpgroups)), b = describe(stage + kRowBytes);
  beginProducts();
#pragma unroll
  for (int part = 0; part < kDepth / 16; ++part)
    multiply<Half>(numbers, a + part * 2, b + part * 2, add || part > 0);
  commitProducts();
}

// ---- the loop

template <int kCount>
struct Ring {
  uint32_t slot = 0, phase = 0;
  __device__ __forceinline__ void advance() {
    if (++slot == kCount) {
      slot = 0;
      phase ^= 1;
    }
  }
};

// Barriers of `kCount` stages: that a stage is full, and that it is empty. All threads of the cluster call
// this first.
template <int kCount>
struct Barriers {
  uint32_t full, empty;

  __device__ __forceinline__ explicit Barriers(uint8_t* memory)
      : full(sharedAddress(memory)), empty(full + kCount * 8) {
    if (threadIdx.x == 0) {
      for (int s = 0; s < kCount; ++s) {
        initBarrier(full + s * 8, 1);
        initBarrier(empty + s * 8, kCluster * kWarpgroups * 4);
      }
      asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    syncCluster();
  }
};

// Brings in the operands of all tiles of a walk, `blocks` stages each: the part of the first warpgroup.
template <int kCount, class Walk>
__device__ __forceinline__ void bringOperands(const CUtensorMap* rows, const CUtensorMap* columns, int blocks,
                                              uint32_t operands, const Barriers<kCount>& barriers,
                                              uint32_t rank, Walk& walk) {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
  if (threadIdx.x != 0) return;
  Ring<kCount> ring;
  while (walk.next()) {
    const int row = walk.rowStep() * kTileRows * kCluster + static_cast<int>(rank) * kTileRows;
    const int column = walk.columnTile() * kTileColumns + static_cast<int>(rank * kHalfColumns);
    for (int k = 0; k < blocks; ++k) {
      const uint32_t stage = operands + ring.slot * kStageBytes, arrived = barriers.full + ring.slot * 8;
      waitBarrier(barriers.empty + ring.slot * 8, ring.phase ^ 1);
      expectBytes(arrived, kStageBytes);
      load(stage, rows, arrived, k * kDepth, row);
      loadForCluster(stage + kRowBytes + rank * kHalfColumnBytes, columns, arrived, k * kDepth, column);
      ring.advance();
    }
  }
}

// All threads of the cluster call this with the same walk. The multiplying warps call `begin` with each tile
// before its products, for what is to be loaded meanwhile, and `use` with its numbers. The second warpgroup
// starts `lag` stages after the first, so that one uses its tile while the other multiplies.
template <class Half, class Walk, class Begin, class Use>
__device__ __forceinline__ void forEachTile(const CUtensorMap* rows, const CUtensorMap* columns, int width,
                                            int lag, uint8_t* shared, uint8_t* memory, Walk walk, Begin begin,
                                            Use use) {
  const uint32_t operands = sharedAddress(shared);
  const uint32_t rank = blockOfCluster();
  const Barriers<kStages> barriers(memory);
  const int blocks = (width + kDepth - 1) / kDepth;
  const int warpgroup = static_cast<int>(threadIdx.x) / 128 - 1;
  if (warpgroup < 0) {
    bringOperands(rows, columns, blocks, operands, barriers, rank, walk);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    const uint32_t lane = threadIdx.x & 31;
    float numbers[128];
    Ring<kStages> ring;
    bool first = true;
    lag = min(lag, min(blocks, kStages - 1));
    const int warp = static_cast<int>(threadIdx.x) / 32 - 4;
    while (walk.next()) {
      Tile tile;
      tile.row = (walk.rowStep() * kCluster + static_cast<int>(rank)) * kTileRows + warp * 16;
      tile.column = walk.columnTile() * kTileColumns;
      begin(tile);
      if (first && warpgroup == 1 && lag > 0) syncNamed(kLagBarrier, 128 * kWarpgroups);
      uint32_t before = 0;
      for (int k = 0; k < blocks; ++k) {
        waitBarrier(barriers.full + ring.slot * 8, ring.phase);
        multiplyStage<Half>(numbers, operands + ring.slot * kStageBytes, warpgroup, k > 0);
        if (k > 0) {
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
      first = false;
      use(walk, tile, numbers);
    }
  }
  syncCluster();
}

#endif

// ---- launches

// A matrix of half-precision numbers, `boxRows` x `boxColumns` of which are copied at a time.
cudaError_t describeMatrix(CUtensorMap* map, GradcacheType type, const void* data, int64_t rows,
                           int64_t columns, int64_t stride, uint32_t boxRows, uint32_t boxColumns);
// The rows and the columns of scores, as bringOperands takes them.
cudaError_t describeOperands(CUtensorMap* rows, CUtensorMap* columns, const GradcacheScores& s);
// Clusters of two blocks of `kernel` that the current device runs at the same time. Lets the kernel use its
// memory.
cudaError_t residentClusters(const void* kernel, size_t sharedBytes, int* clusters);

}  // namespace gradcache::cuda::hopper
