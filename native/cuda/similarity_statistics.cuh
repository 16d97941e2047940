// What the statistics kernels do with a tile: the sums of 2^score of its rows and its columns.
//
// Where all scores lie near enough to one reference, one exponential serves both sums (kBounded). Else each
// row and each column has a reference of its own, the largest score so far: two exponentials, and right for
// any scores.
#pragma once

#include "cuda/similarity.cuh"

namespace gradcache::cuda {

// log2(sum of 2^score) as a reference and a sum: reference + log2(sum). Nothing at all is (-infinity, 0).
struct alignas(8) LogSum {
  float reference, sum;

  __device__ __forceinline__ static LogSum joined(LogSum a, LogSum b) {
    const float reference = fmaxf(a.reference, b.reference);
    if (reference == -infinite()) return {reference, a.sum + b.sum};
    return {reference,
            a.sum * powerOfTwo(a.reference - reference) + b.sum * powerOfTwo(b.reference - reference)};
  }
};

// Where a call's parts of sums meet. A part is what one warpgroup, or block, saw.
struct StatisticsParts {
  void* rows;     // [ranges x warps beside one another, rowStride]: float where bounded, else LogSum
  void* columns;  // [parts, columnStride] the same; or null
  int rowStride, columnStride;  // rows and columns, up to whole groups and tiles
  const int* unless;            // the kernel has nothing to do where this is 0; or null
};

template <bool kBounded>
struct PartOf {
  using Type = LogSum;
};
template <>
struct PartOf<true> {
  using Type = float;
};

// The reference that scores are taken from: any will do where there is no score.
__device__ __forceinline__ float usable(float reference) {
  return reference == -infinite() ? 0.0f : reference;
}

// kWarps warps below one another have the same columns, kBeside warps beside one another the same rows;
// `kSteps` tiles below one another make a group. The memory is shared by `kThreads` threads, which are
// numbered from 0.
template <class Tile, int kWarps, int kSteps, int kThreads, int kColumns_, bool kBounded, bool kWithColumns>
struct StatisticsUse {
  using Part = typename PartOf<kBounded>::Type;
  static constexpr int kColumns = kColumns_;  // of the warps that meet
  static constexpr int kWarpColumns = Tile::kAcross * kFragmentColumns, kBeside = kColumns / kWarpColumns;
  // A lane's two rows of each fragment, for each step of the group.
  static constexpr size_t kRowBytes = sizeof(Part) * 2 * kSteps * Tile::kDown * kThreads;
  static constexpr size_t kMeetingBytes = kWithColumns ? sizeof(Part) * kWarps * kColumns : 0;

  const Scores& scores;
  const StatisticsParts& parts;
  Part (*rowParts)[2];  // [kSteps * kDown * kThreads]
  Part* meeting;        // [kWarps, kColumns]
  int thread, warp;     // warp: among the kWarps
  int columnInMeeting;  // of the warp's first column
  Part columnParts[Tile::kAcross][2];

  __device__ StatisticsUse(const Scores& s, const StatisticsParts& p, uint8_t* rowMemory,
                           uint8_t* meetingMemory, int thread_, int warp_, int columnInMeeting_)
      : scores(s),
        parts(p),
        rowParts(reinterpret_cast<Part (*)[2]>(rowMemory)),
        meeting(reinterpret_cast<Part*>(meetingMemory)),
        thread(thread_),
        warp(warp_),
        columnInMeeting(columnInMeeting_) {}

  // `sync` is a barrier of the warps that meet, `member` the thread's number among their kMembers threads,
  // `part` theirs.
  template <int kMembers, class Walk, class Sync>
  __device__ __forceinline__ void operator()(const Walk& walk, const Tile& tile,
                                             float (&numbers)[Tile::kNumbers], int member, int part,
                                             Sync sync) {
    const bool newRows = walk.column == walk.columnBegin, lastRows = walk.column + 1 == walk.columnEnd;
    if (walk.step == 0) {
#pragma unroll
      for (int across = 0; across < Tile::kAcross; ++across)
        columnParts[across][0] = columnParts[across][1] = none();
    }
    if constexpr (kBounded)
      addBounded(walk.step, newRows, numbers);
    else
      addAny(walk.step, newRows, numbers);
    if (lastRows) leaveRows(walk.range * kBeside + columnInMeeting / kWarpColumns, walk.step, tile);
    if (kWithColumns && walk.step + 1 == walk.steps) {
      sync();  // all have read what they met for before
#pragma unroll
      for (int across = 0; across < Tile::kAcross; ++across) {
        Part* target =
            meeting + warp * kColumns + columnInMeeting + across * kFragmentColumns + (threadIdx.x & 31) * 2;
        target[0] = columnParts[across][0];
        target[1] = columnParts[across][1];
      }
      sync();
      const int64_t first = static_cast<int64_t>(part) * parts.columnStride + (tile.column - columnInMeeting);
#pragma unroll
      for (int c = member; c < kColumns; c += kMembers) {
        Part sum = meeting[c];
#pragma unroll
        for (int w = 1; w < kWarps; ++w) sum = joined(sum, meeting[w * kColumns + c]);
        static_cast<Part*>(parts.columns)[first + c] = sum;
      }
    }
  }

 private:
  __device__ __forceinline__ static Part none() {
    if constexpr (kBounded)
      return 0.0f;
    else
      return LogSum{-infinite(), 0.0f};
  }
  __device__ __forceinline__ static Part joined(Part a, Part b) {
    if constexpr (kBounded)
      return a + b;
    else
      return LogSum::joined(a, b);
  }
  __device__ __forceinline__ Part (&rowsOf(int step, int down))[2] {
    return rowParts[(step * Tile::kDown + down) * kThreads + thread];
  }

  __device__ __forceinline__ void addBounded(int step, bool newRows, const float (&numbers)[Tile::kNumbers]) {
    float rowSums[Tile::kDown][2];
#pragma unroll
    for (int down = 0; down < Tile::kDown; ++down) rowSums[down][0] = rowSums[down][1] = 0;
#pragma unroll
    for (int across = 0; across < Tile::kAcross; ++across) {
      float v[16];
#pragma unroll
      for (int i = 0; i < 16; ++i) v[i] = 0;
#pragma unroll
      for (int down = 0; down < Tile::kDown; ++down) {
#pragma unroll
        for (int i = 0; i < kFragmentNumbers; ++i) {
          const float power =
              powerOfTwo(fmaf(numbers[Tile::fragment(down, across) + i], scores.factor, -scores.reference));
          rowSums[down][i / 2 % 2] += power;
          if (kWithColumns) v[i / 4 * 2 + i % 2] += power;
        }
      }
      if (kWithColumns) {
        acrossRows(v, [](float a, float b) { return a + b; });
        columnParts[across][0] += v[0];
        columnParts[across][1] += v[1];
      }
    }
#pragma unroll
    for (int down = 0; down < Tile::kDown; ++down) {
      float(&sums)[2] = rowsOf(step, down);
      sums[0] = newRows ? rowSums[down][0] : sums[0] + rowSums[down][0];
      sums[1] = newRows ? rowSums[down][1] : sums[1] + rowSums[down][1];
    }
  }

  __device__ __forceinline__ void addAny(int step, bool newRows, const float (&numbers)[Tile::kNumbers]) {
#pragma unroll
    for (int down = 0; down < Tile::kDown; ++down) {
#pragma unroll
      for (int low = 0; low < 2; ++low) {
        float most = -infinite();
#pragma unroll
        for (int across = 0; across < Tile::kAcross; ++across) {
#pragma unroll
          for (int i = 0; i < kFragmentNumbers; i += 4) {
            const int place = Tile::fragment(down, across) + i + low * 2;
            most = fmaxf(most, fmaxf(numbers[place], numbers[place + 1]));
          }
        }
        LogSum& kept = rowsOf(step, down)[low];
        const LogSum before = newRows ? none() : kept;
        const float reference = fmaxf(before.reference, most * scores.factor), from = usable(reference);
        float sum = 0;
#pragma unroll
        for (int across = 0; across < Tile::kAcross; ++across) {
#pragma unroll
          for (int i = 0; i < kFragmentNumbers; i += 4) {
            const int place = Tile::fragment(down, across) + i + low * 2;
            sum += powerOfTwo(fmaf(numbers[place], scores.factor, -from));
            sum += powerOfTwo(fmaf(numbers[place + 1], scores.factor, -from));
          }
        }
        kept = LogSum{reference, fmaf(before.sum, powerOfTwo(before.reference - from), sum)};
      }
    }
    if constexpr (kWithColumns) addColumns(numbers);
  }

  __device__ __forceinline__ void addColumns(const float (&numbers)[Tile::kNumbers]) {
#pragma unroll
    for (int across = 0; across < Tile::kAcross; ++across) {
      float v[16];
#pragma unroll
      for (int i = 0; i < 16; ++i) v[i] = -infinite();
#pragma unroll
      for (int down = 0; down < Tile::kDown; ++down) {
#pragma unroll
        for (int i = 0; i < kFragmentNumbers; ++i)
          v[i / 4 * 2 + i % 2] = fmaxf(v[i / 4 * 2 + i % 2], numbers[Tile::fragment(down, across) + i]);
      }
      acrossRows(v, [](float a, float b) { return fmaxf(a, b); });
      LogSum(&kept)[2] = columnParts[across];
      const float references[2] = {fmaxf(kept[0].reference, v[0] * scores.factor),
                                   fmaxf(kept[1].reference, v[1] * scores.factor)};
      const float2 mine = {usable(references[0]), usable(references[1])};
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const float2 from = ofColumns(mine, k);
        v[2 * k] = v[2 * k + 1] = 0;
#pragma unroll
        for (int down = 0; down < Tile::kDown; ++down) {
#pragma unroll
          for (int e = 0; e < 4; ++e)
            v[2 * k + e % 2] += powerOfTwo(fmaf(numbers[Tile::fragment(down, across) + 4 * k + e],
                                                scores.factor, -(e % 2 ? from.y : from.x)));
        }
      }
      acrossRows(v, [](float a, float b) { return a + b; });
      kept[0] = LogSum{references[0], fmaf(kept[0].sum, powerOfTwo(kept[0].reference - mine.x), v[0])};
      kept[1] = LogSum{references[1], fmaf(kept[1].sum, powerOfTwo(kept[1].reference - mine.y), v[1])};
    }
  }

  // The four lanes of a row join their parts, and the first of them leaves the warp's.
  __device__ __forceinline__ void leaveRows(int place, int step, const Tile& tile) {
#pragma unroll
    for (int down = 0; down < Tile::kDown; ++down) {
#pragma unroll
      for (int low = 0; low < 2; ++low) {
        Part part = rowsOf(step, down)[low];
#pragma unroll
        for (int distance = 1; distance <= 2; distance *= 2) {
          Part other;
          if constexpr (kBounded)
            other = __shfl_xor_sync(0xffffffffu, part, distance);
          else
            other = LogSum{__shfl_xor_sync(0xffffffffu, part.reference, distance),
                           __shfl_xor_sync(0xffffffffu, part.sum, distance)};
          part = joined(part, other);
        }
        const int64_t row = tile.rowOf(down) + low * 8;
        if ((threadIdx.x & 3) == 0)
          static_cast<Part*>(parts.rows)[place * int64_t{parts.rowStride} + row] = part;
      }
    }
  }
};

}  // namespace gradcache::cuda
