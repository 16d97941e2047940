// The scores of rows with columns, factor * <x_i, y_j>, in tiles that live on the chip. The products of a
// tile come from similarity_hopper.cuh (wgmma, compute capability 9.0) or similarity_mma.cuh (every other);
// what is done with them is in similarity_statistics.cuh and similarity_probabilities.cuh, which know a tile
// only by its fragments.
//
// A fragment is 16 rows x 64 columns of a warp, 32 numbers a lane. With g = lane / 4 and q = lane % 4, number
// 4 * k + e is
//   row g (e < 2) or g + 8 (e >= 2), column 8 * k + 2 * q + e % 2.
// Exponentials are powers of two: scores are multiplied by log2(e) with their factor.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <climits>
#include <cstdint>

#include "cuda/attention_tiles.cuh"
#include "cuda/common.cuh"

namespace gradcache::cuda {

using kernels::cuda::powerOfTwo;
using kernels::cuda::sharedAddress;
using float16 = __half;

constexpr int kTileRows = 128, kTileColumns = 256;
constexpr int kFragmentRows = 16, kFragmentColumns = 64, kFragmentNumbers = 32;

// What every kernel knows of a rectangle of scores.
struct Scores {
  int rows, columns, width;
  float factor;     // from a product to a score in powers of two
  float reference;  // a power that no score exceeds by more than a float can hold, where the caller's bound
                    // is right
  int without;      // column - row of the pairs left out, or kAllPairs
  // targetCount lists, targetStride apart, with a number for each row, firstColumn more than a column that
  // the row leaves out besides; or null.
  const int32_t* targets;
  int targetCount, targetStride, firstColumn;

  // The column that a row leaves out by a list; negative for none.
  __device__ __forceinline__ int target(int list, int row) const {
    if (row >= rows) return -1;
    return __ldg(targets + static_cast<int64_t>(list) * targetStride + row) - firstColumn;
  }
};
constexpr int kAllPairs = INT_MIN;

__device__ __forceinline__ float infinite() { return __int_as_float(0x7f800000); }

// ---- sums over the rows of a fragment

template <int kHalf, class Join>
__device__ __forceinline__ void foldAcross(float (&v)[16], Join join) {
  const bool upper = threadIdx.x & (kHalf * 2);
#pragma unroll
  for (int i = 0; i < kHalf; ++i) {
    const float sent = upper ? v[i] : v[i + kHalf], kept = upper ? v[i + kHalf] : v[i];
    v[i] = join(kept, __shfl_xor_sync(0xffffffffu, sent, kHalf * 2));
  }
}

// `v` holds numbers of the 16 columns of a lane. Afterwards v[0] and v[1] belong to columns 2 * lane and 2 *
// lane + 1 of the fragment's 64, joined over the eight lanes that have the same columns.
template <class Join>
__device__ __forceinline__ void acrossRows(float (&v)[16], Join join) {
  foldAcross<8>(v, join);
  foldAcross<4>(v, join);
  foldAcross<2>(v, join);
}

// The other way: from the two columns that a lane has after acrossRows to those of its fragment's numbers 4 *
// k + e.
__device__ __forceinline__ float2 ofColumns(float2 mine, int k) {
  const int from = k * 4 + (threadIdx.x & 3);
  return {__shfl_sync(0xffffffffu, mine.x, from), __shfl_sync(0xffffffffu, mine.y, from)};
}

// ---- a warp's part of a tile: kDown fragments below one another, kAcross beside one another

template <int kDown_, int kAcross_>
struct WarpTile {
  static constexpr int kDown = kDown_, kAcross = kAcross_;
  static constexpr int kNumbers = kDown * kAcross * kFragmentNumbers;

  int row, column;  // of the first number of the first fragment, without the lane's own place

  __device__ static constexpr int fragment(int down, int across) {
    return (down * kAcross + across) * kFragmentNumbers;
  }
  // The lane's first row of a fragment; the other is eight further.
  __device__ int rowOf(int down) const {
    return row + down * kFragmentRows + static_cast<int>(threadIdx.x & 31) / 4;
  }
  __device__ int columnOf(int across, int k) const {
    return column + across * kFragmentColumns + k * 8 + static_cast<int>(threadIdx.x & 3) * 2;
  }
};

// What a lane's part of a tile leaves out. Where nothing is, that costs next to nothing.
template <class Tile>
struct LeftOut {
  int first[Tile::kDown][2];  // targets of the first list
  bool others;                // whether a target of another list lies in the tile

  __device__ __forceinline__ void load(const Scores& scores, const Tile& tile) {
    if (!scores.targets) return;
#pragma unroll
    for (int down = 0; down < Tile::kDown; ++down) {
      first[down][0] = scores.target(0, tile.rowOf(down));
      first[down][1] = scores.target(0, tile.rowOf(down) + 8);
    }
    others = false;
    for (int list = 1; list < scores.targetCount; ++list) {
#pragma unroll
      for (int i = 0; i < Tile::kDown * 2; ++i)
        others = others || inside(tile, scores.target(list, tile.rowOf(i / 2) + i % 2 * 8));
    }
  }

  // Gives the score `none` to pairs that lie outside or are left out.
  __device__ __forceinline__ void apply(const Scores& scores, const Tile& tile,
                                        float (&numbers)[Tile::kNumbers], float none = -infinite()) const {
    const int rowEnd = tile.row + Tile::kDown * kFragmentRows,
              columnEnd = tile.column + Tile::kAcross * kFragmentColumns;
    const int diagonal = scores.without;
    bool whole = rowEnd <= scores.rows && columnEnd <= scores.columns;
    if (diagonal != kAllPairs && tile.column - rowEnd < diagonal && columnEnd - tile.row > diagonal)
      whole = false;
    if (scores.targets) {
      whole = whole && !others;
#pragma unroll
      for (int i = 0; i < Tile::kDown * 2; ++i) whole = whole && !inside(tile, first[i / 2][i % 2]);
    }
    if (whole) return;
#pragma unroll
    for (int down = 0; down < Tile::kDown; ++down) {
      leaveOut(tile, down, none, numbers, [&](int row, int column, int low) {
        return row >= scores.rows || column >= scores.columns || column - row == diagonal ||
               (scores.targets && column == first[down][low]);
      });
      if (!scores.targets || !others) continue;
      for (int list = 1; list < scores.targetCount; ++list) {
        const int targets[2] = {scores.target(list, tile.rowOf(down)),
                                scores.target(list, tile.rowOf(down) + 8)};
        if (!inside(tile, targets[0]) && !inside(tile, targets[1])) continue;
        leaveOut(tile, down, none, numbers, [&](int, int column, int low) { return column == targets[low]; });
      }
    }
  }

 private:
  __device__ __forceinline__ static bool inside(const Tile& tile, int column) {
    return column >= tile.column && column < tile.column + Tile::kAcross * kFragmentColumns;
  }
  template <class Which>
  __device__ __forceinline__ static void leaveOut(const Tile& tile, int down, float none,
                                                  float (&numbers)[Tile::kNumbers], Which which) {
#pragma unroll
    for (int i = 0; i < Tile::kAcross * kFragmentNumbers; ++i) {
      const int low = i / 2 % 2, row = tile.rowOf(down) + low * 8;
      const int column = tile.columnOf(i / kFragmentNumbers, i % kFragmentNumbers / 4) + i % 2;
      if (which(row, column, low)) numbers[Tile::fragment(down, 0) + i] = none;
    }
  }
};

// ---- the order of tiles

// Statistics: a group of row steps is kept while a range of columns passes by. A step is the rows that a
// cluster, or a block, takes at a time. Neighbouring items share rows or columns, so that what runs at the
// same time fits the L2 cache.
struct StatisticsPlan {
  int steps, perGroup, groups;  // steps of rows: all, and of a group
  int columnTiles, perRange, ranges;
  int set = 4;  // groups that are walked through together
};

struct StatisticsWalk {
  StatisticsPlan plan;
  int item, stride;
  int group = 0, range = 0, step = 0, steps = 0, column = 0, columnEnd = 0, columnBegin = 0;

  __device__ StatisticsWalk(const StatisticsPlan& p, int first, int every)
      : plan(p), item(first - every), stride(every) {}

  __device__ __forceinline__ bool next() {
    if (++step < steps) return true;
    step = 0;
    if (++column < columnEnd) return true;
    item += stride;
    if (item >= plan.groups * plan.ranges) return false;
    const int set = item / (plan.set * plan.ranges), first = set * plan.set;
    const int size = min(plan.set, plan.groups - first), within = item - first * plan.ranges;
    group = first + within % size;
    range = within / size;
    columnBegin = column = range * plan.perRange;
    columnEnd = min(column + plan.perRange, plan.columnTiles);
    steps = min(plan.perGroup, plan.steps - group * plan.perGroup);
    return true;
  }
  __device__ int rowStep() const { return group * plan.perGroup + step; }
  __device__ int columnTile() const { return column; }
};

// Tiles one by one, in bands of rows.
struct TileWalk {
  static constexpr int kBand = 8;
  int steps, columnTiles, number, stride;
  int step = 0, column = 0;

  __device__ TileWalk(int steps_, int columnTiles_, int first, int every)
      : steps(steps_), columnTiles(columnTiles_), number(first - every), stride(every) {}

  __device__ __forceinline__ bool next() {
    number += stride;
    if (number >= steps * columnTiles) return false;
    const int band = number / (kBand * columnTiles), first = band * kBand;
    const int size = min(kBand, steps - first), within = number - first * columnTiles;
    step = first + within % size;
    column = within / size;
    return true;
  }
  __device__ int rowStep() const { return step; }
  __device__ int columnTile() const { return column; }
};

}  // namespace gradcache::cuda
