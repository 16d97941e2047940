// Tiles of products on any card from compute capability 8.0 on: 128 rows x 256 columns a block, by eight
// warps of 64 x 64 (mma.sync m16n8k16) from a ring of copies in shared memory.
#pragma once

#include "cuda/similarity.cuh"

namespace gradcache::cuda::portable {

using kernels::cuda::commitCopies;
using kernels::cuda::copyAsync;
using kernels::cuda::loadMatrices;
using kernels::cuda::waitForCopies;

constexpr int kWarpsDown = 2, kWarpsAcross = 4, kThreads = 32 * kWarpsDown * kWarpsAcross;
constexpr int kDepth = 32, kStages = 3, kPieces = kDepth / 8;  // pieces of 16 bytes
constexpr uint32_t kRowBytes = kTileRows * kDepth * 2, kStageBytes = (kTileRows + kTileColumns) * kDepth * 2;
constexpr uint32_t kOperandBytes = kStages * kStageBytes;

using Tile = WarpTile<4, 1>;

struct Operands {
  const void *rows, *columns;
  int64_t rowStride, columnStride;  // in numbers
};

// Rows of 64 bytes, their pieces permuted so that eight rows' pieces of one place lie in different banks.
__device__ __forceinline__ uint32_t place(int row, int piece) {
  return row * (kDepth * 2) + ((piece ^ ((row >> 1) & 3)) << 4);
}

// d += a b
template <class Half>
__device__ __forceinline__ void multiply(float* d, const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (std::is_same<Half, bfloat16>::value)
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <class Half>
__device__ __forceinline__ void copyStage(const Operands& operands, const Scores& scores, int row, int column,
                                          int k, uint32_t stage) {
#pragma unroll
  for (int i = 0; i < (kTileRows + kTileColumns) * kPieces / kThreads; ++i) {
    const int number = static_cast<int>(threadIdx.x) + i * kThreads, line = number / kPieces,
              piece = number % kPieces;
    const bool ofRows = line < kTileRows;
    const int index = ofRows ? row + line : column + line - kTileRows, depth = k * kDepth + piece * 8;
    const bool present = index < (ofRows ? scores.rows : scores.columns) && depth < scores.width;
    const Half* const matrix = static_cast<const Half*>(ofRows ? operands.rows : operands.columns);
    const int64_t stride = ofRows ? operands.rowStride : operands.columnStride;
    copyAsync(stage + place(line, piece), present ? matrix + index * stride + depth : matrix, present);
  }
}

// All threads of the block call this with the same walk. `use` is called by every warp with its part of each
// tile.
template <class Half, class Walk, class Use>
__device__ __forceinline__ void forEachTile(const Operands& operands, const Scores& scores, uint8_t* shared,
                                            Walk walk, Use use) {
  const uint32_t base = sharedAddress(shared);
  const int lane = threadIdx.x & 31, warp = threadIdx.x / 32;
  const int down = warp % kWarpsDown * 64, across = warp / kWarpsDown * 64;
  const int blocks = (scores.width + kDepth - 1) / kDepth;
  while (walk.next()) {
    const int row = walk.rowStep() * kTileRows, column = walk.columnTile() * kTileColumns;
    float numbers[Tile::kNumbers];
#pragma unroll
    for (int i = 0; i < Tile::kNumbers; ++i) numbers[i] = 0;
    for (int s = 0; s < kStages - 1; ++s) {
      if (s < blocks) copyStage<Half>(operands, scores, row, column, s, base + s * kStageBytes);
      commitCopies();
    }
    for (int k = 0; k < blocks; ++k) {
      waitForCopies<kStages - 2>();
      __syncthreads();  // this stage has arrived, and the one before it is used up
      const int ahead = k + kStages - 1;
      if (ahead < blocks)
        copyStage<Half>(operands, scores, row, column, ahead, base + ahead % kStages * kStageBytes);
      commitCopies();
      const uint32_t stage = base + k % kStages * kStageBytes, columnStage = stage + kRowBytes;
#pragma unroll
      for (int part = 0; part < kDepth / 16; ++part) {
        uint32_t a[4][4];
#pragma unroll
        for (int f = 0; f < 4; ++f)
          loadMatrices(a[f], stage + place(down + f * 16 + (lane & 15), part * 2 + lane / 16));
#pragma unroll
        for (int pair = 0; pair < 4; ++pair) {
          uint32_t b[4];
          loadMatrices(b, columnStage + place(across + pair * 16 + (lane & 7) + lane / 16 * 8,
                                              part * 2 + lane / 8 % 2));
#pragma unroll
          for (int f = 0; f < 4; ++f) {
            multiply<Half>(numbers + Tile::fragment(f, 0) + pair * 8, a[f], b[0], b[1]);
            multiply<Half>(numbers + Tile::fragment(f, 0) + pair * 8 + 4, a[f], b[2], b[3]);
          }
        }
      }
    }
    waitForCopies<0>();
    __syncthreads();
    Tile tile;
    tile.row = row + down;
    tile.column = column + across;
    use(walk, tile, numbers);
  }
}

}  // namespace gradcache::cuda::portable
