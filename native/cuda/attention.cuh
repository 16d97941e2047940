// Shared by the attention kernels: how sequences are dealt to blocks, and rows of one head in shared memory.
#pragma once

#include <algorithm>

#include "cuda/attention_tiles.cuh"
#include "cuda/common.cuh"
#include "cuda/kernels.h"

namespace gradcache::kernels::cuda {

using bfloat16 = __nv_bfloat16;

constexpr float kLog2e = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;

// The most warps of a block, each with 16 rows.
template <int kSize>
constexpr int kWarpsMost = kSize <= 64 ? 8 : 4;

// Kernels of a general form (kGeneral) know fewer heads of keys than of queries, and queries that do not see
// every key; the others keep what that costs out of their loops.

// With a bias the dropout's bits are always drawn: a threshold of zero keeps everything.
enum Mode { kPlain, kDropout, kDropoutAndBias };

struct AttentionWork {
  const int32_t* offsets;
  int32_t sequences, heads, keyHeads, longest;
  int32_t before, after;  // a query sees the keys from `before` places before its own to `after` behind it
  int32_t above, upTo;    // this launch takes the sequences of these lengths
  // From one row to the next: of queries and keys, of values, of `out` and of dqkv.
  int stride, valueStride, outStride, gradientStride;
  int64_t tokens;
  float scale;
  DropoutKey key;
  const bfloat16* distanceBias;
};

// A block's rows of one head of one sequence: rows first, first + 1, ... of the `length` from token `begin`.
struct AttentionItem {
  int begin, length, head, first;
};

// Deals the items, of `rows` rows each and as many heads as are given, to the grid, and calls body(item) for
// each of this block's. A warp looks at 32 of them at a time, so that what belongs to another launch costs
// next to nothing; every warp of a block finds the same.
template <class Body>
__device__ __forceinline__ void forEachItem(const AttentionWork& work, uint32_t heads, uint32_t rows,
                                            Body body) {
  const uint32_t lane = threadIdx.x & 31;
  const uint32_t blocks = (work.upTo + rows - 1) / rows;
  const uint32_t count = work.sequences * blocks * heads;
  for (uint32_t base = blockIdx.x; base < count; base += 32 * gridDim.x) {
    const uint32_t index = base + lane * gridDim.x;
    AttentionItem item{0, 0, static_cast<int>(index % heads),
                       static_cast<int>(index / heads % blocks * rows)};
    bool mine = false;
    if (index < count) {
      const uint32_t sequence = index / heads / blocks;
      item.begin = __ldg(work.offsets + sequence);
      item.length = __ldg(work.offsets + sequence + 1) - item.begin;
      mine = item.length > work.above && item.length <= work.upTo && item.first < item.length;
    }
    for (uint32_t todo = __ballot_sync(0xffffffffu, mine); todo != 0; todo &= todo - 1) {
      const int from = __ffs(todo) - 1;
      body(AttentionItem{
          __shfl_sync(0xffffffffu, item.begin, from), __shfl_sync(0xffffffffu, item.length, from),
          __shfl_sync(0xffffffffu, item.head, from), __shfl_sync(0xffffffffu, item.first, from)});
    }
  }
}

// Tiles of 16 rows.
struct TileRange {
  int begin, end;
};

// Which of `count` tiles of keys, the first of which is at `start`, some of the 16 queries from `first` on
// see.
__device__ __forceinline__ TileRange keyTilesOf(const AttentionWork& work, int first, int start, int count) {
  return {max(0, (first - work.before - start) >> 4),
          min(count, ((first + 15 + work.after - start) >> 4) + 1)};
}
// Which of such tiles of queries see some of the 16 keys from `first` on.
__device__ __forceinline__ TileRange queryTilesOf(const AttentionWork& work, int first, int start,
                                                  int count) {
  return {max(0, (first - work.after - start) >> 4),
          min(count, ((first + 15 + work.before - start) >> 4) + 1)};
}
__device__ __forceinline__ bool sees(const AttentionWork& work, int query, int key) {
  const int distance = key - query;
  return distance <= work.after && distance >= -work.before;
}
// Whether all of the 16 queries from `query` on see all of the 16 keys from `key` on.
__device__ __forceinline__ bool allSeeAll(const AttentionWork& work, int query, int key) {
  return key + 15 - query <= work.after && query + 15 - key <= work.before;
}

// The same number, of which the compiler makes nothing before this place: what is needed once, far behind,
// must not wait in registers that the products need.
__device__ __forceinline__ int computedHere(int value) {
  asm volatile("" : "+r"(value));
  return value;
}

// Rows of one head in shared memory: kSize bfloat16 each, in 16-byte pieces whose order is permuted row by
// row so that eight rows' pieces of one column lie in different banks.
template <int kSize>
struct HeadRows {
  static constexpr int kBytes = 2 * kSize, kPieces = kSize / 8;

  __device__ static __forceinline__ uint32_t place(int row, int piece) {
    return row * kBytes + ((piece ^ (kSize >= 64 ? (row & 7) : ((row >> 1) & 3))) << 4);
  }

  // The offset for 16 rows. Add 16 * t * kBytes for the t-th sixteen rows, exclusive-or 32 * k for the k-th
  // sixteen columns. An a from rows and columns; transposed, a b whose rows are these rows.
  __device__ static __forceinline__ uint32_t rowsFirst(int lane) { return place(lane & 15, lane >> 4); }
  // A pair of b's whose columns are these rows.
  __device__ static __forceinline__ uint32_t columnsFirst(int lane) {
    return place((lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1);
  }

  // A warp reads and writes 16 rows in turns of as many whole rows as it has lanes for. The place of the
  // lane's piece in each turn, from its place in the first: the permutation comes round every eight rows.
  static constexpr int kRowsATurn = 32 / kPieces, kTurns = 16 / kRowsATurn;
  __device__ static __forceinline__ uint32_t ofTurn(uint32_t first, int turn) {
    return (first ^ (kSize >= 64 ? (turn * kRowsATurn & 7) << 4 : 0)) + turn * kRowsATurn * kBytes;
  }

  // A warp's copy of 16 rows of a matrix with `stride` elements a row; zeros from row `present` on.
  __device__ static __forceinline__ void copy(uint32_t target, const bfloat16* source, int stride,
                                              int present) {
    stride = computedHere(stride);
    const int lane = threadIdx.x & 31, row = lane / kPieces, piece = lane % kPieces;
    target += place(row, piece);
    source += row * stride + piece * 8;
#pragma unroll
    for (int i = 0; i < kTurns; ++i, source += kRowsATurn * stride)
      copyAsync(ofTurn(target, i), source, row + i * kRowsATurn < present);
  }

  // Writes a warp's 16 accumulated rows, times `low` or (rows 8 to 15) `high`, by way of 16 rows of shared
  // memory that no other warp uses, so that whole rows are written.
  __device__ static __forceinline__ void store(const float (&rows)[kSize / 8][4], float low, float high,
                                               uint32_t shared, bfloat16* target, int stride, int present) {
    stride = computedHere(stride);
    const int lane = threadIdx.x & 31, row = lane / kPieces, piece = lane % kPieces;
    const uint32_t first = rowsFirst(lane);
    __syncwarp();
#pragma unroll
    for (int k = 0; k < kPieces / 2; ++k) {
      const float(&left)[4] = rows[2 * k], (&right)[4] = rows[2 * k + 1];
      storeMatrices(shared + (first ^ k * 32), pack(left[0] * low, left[1] * low),
                    pack(left[2] * high, left[3] * high), pack(right[0] * low, right[1] * low),
                    pack(right[2] * high, right[3] * high));
    }
    __syncwarp();
    const uint32_t source = shared + place(row, piece);
    target += row * stride + piece * 8;
#pragma unroll
    for (int i = 0; i < kTurns; ++i, target += kRowsATurn * stride) {
      const uint4 value = loadShared16(ofTurn(source, i));
      if (row + i * kRowsATurn < present) *reinterpret_cast<uint4*>(target) = value;
    }
  }
};

// Where a block's queries, from `first` on, find keys, kKeys at a time: stages from `begin` to `end`.
template <int kKeys, bool kGeneral>
struct KeyStages {
  int begin = 0, end;

  __device__ __forceinline__ KeyStages(const AttentionWork& work, const AttentionItem& item, int rows)
      : end((item.length + kKeys - 1) / kKeys) {
    if (!kGeneral) return;
    begin = max(0, item.first - work.before) / kKeys;
    end = min(end, (item.first + rows - 1 + work.after) / kKeys + 1);
  }
};

// Begins the copy of a stage of keys, and behind them their values, into one of two places. Tiles of 16 keys
// go to the warps in turn.
template <int kSize, int kKeys>
__device__ __forceinline__ void copyKeys(uint32_t keys, const bfloat16* source, const bfloat16* values,
                                         int stage, int length, const AttentionWork& work) {
  using Rows = HeadRows<kSize>;
  constexpr int kTileBytes = 16 * Rows::kBytes, kKeyBytes = kKeys * Rows::kBytes;
  const uint32_t target = keys + (stage & 1) * 2 * kKeyBytes;
  for (int tile = threadIdx.x / 32; tile < kKeys / 16; tile += blockDim.x / 32) {
    const int first = stage * kKeys + tile * 16;
    if (first >= length) break;
    Rows::copy(target + tile * kTileBytes, source + int64_t{first} * work.stride, work.stride,
               length - first);
    Rows::copy(target + tile * kTileBytes + kKeyBytes, values + int64_t{first} * work.valueStride,
               work.valueStride, length - first);
  }
  commitCopies();
}

// The launches that cover all lengths: sequences much shorter than the longest get blocks of their own size.
// Beyond `whole` tokens backward takes two kernels. `body` is called with (above, upTo, tiles) and returns a
// cudaError_t.
template <class Body>
int forEachLengthClass(const GradcacheSequences& s, int whole, Body body) {
  const double mean = static_cast<double>(s.tokens) / s.sequences;
  int above = 0;
  auto run = [&](int upTo) {
    const int code = body(above, upTo, (upTo + 15) / 16);
    above = upTo;
    return code;
  };
  for (int bound : {32, 64, whole}) {
    bound = std::min(bound, whole);
    if (bound <= above) continue;
    // Worth a launch only where many sequences are as short.
    const bool apart = bound == whole ? s.longest > bound : 4 * bound <= 3 * s.longest;
    if (!apart || mean >= 1.25 * bound) continue;
    if (int code = run(bound)) return code;
  }
  return run(s.longest);
}

// How many tiles of 16 rows a block, which takes at most `most`, has where a sequence has `tiles` of them.
template <int kSize>
int tilesOfBlock(int tiles, int most) {
  if (tiles <= most) return tiles;
  if (kSize <= 64) return most;
  const int blocks = (tiles + most - 1) / most;
  return (tiles + blocks - 1) / blocks;
}

// Enqueues as many blocks as the device holds at a time, or one an item where that is fewer: items of `rows`
// rows, of `heads` heads.
template <class... Parameters, class... Arguments>
int launchAttention(void (*kernel)(AttentionWork, Parameters...), const AttentionWork& work, int heads,
                    int rows, int warps, int bytes, void* stream, Arguments... arguments) {
  int device = 0, processors = 0, resident = 0;
  cudaError_t code = cudaGetDevice(&device);
  if (code == cudaSuccess) code = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  if (code == cudaSuccess)
    code = gradcache::cuda::allowSharedMemory(reinterpret_cast<const void*>(kernel), bytes);
  if (code == cudaSuccess)
    code = cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                cudaSharedmemCarveoutMaxShared);
  if (code == cudaSuccess)
    code = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, 32 * warps, bytes);
  if (code != cudaSuccess) return code;
  const int64_t items = int64_t{1} * work.sequences * heads * ((work.upTo + rows - 1) / rows);
  if (resident == 0 || items > INT32_MAX) return cudaErrorInvalidConfiguration;
  const int64_t most = int64_t{1} * processors * resident;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(items < most ? items : most));
  config.blockDim = dim3(32 * warps);
  config.dynamicSmemBytes = bytes;
  config.stream = static_cast<cudaStream_t>(stream);
  return cudaLaunchKernelEx(&config, kernel, work, static_cast<Parameters>(arguments)...);
}

inline AttentionWork attentionWork(const GradcacheSequences& s, const GradcacheHeadRows& rows,
                                   int64_t outStride, const void* distanceBias, float scale,
                                   const DropoutKey& key) {
  AttentionWork work{};
  work.stride = static_cast<int>(rows.stride);
  work.valueStride = static_cast<int>(rows.valueStride);
  work.outStride = static_cast<int>(outStride);
  work.offsets = s.offsets;
  work.sequences = s.sequences;
  work.heads = s.heads;
  work.keyHeads = s.keyHeads;
  work.longest = work.upTo = s.longest;
  work.before = std::min(s.before, s.longest);
  work.after = std::min(s.after, s.longest);
  work.tokens = s.tokens;
  work.scale = scale;
  work.key = key;
  work.distanceBias = static_cast<const bfloat16*>(distanceBias);
  return work;
}

inline Mode attentionMode(const AttentionWork& work) {
  return work.distanceBias ? kDropoutAndBias : work.key.active() ? kDropout : kPlain;
}

// Whether there are fewer heads of keys, or some query does not see every key of its sequence.
inline bool isGeneral(const GradcacheSequences& s) {
  return s.keyHeads < s.heads || s.before < s.longest - 1 || s.after < s.longest - 1;
}

cudaError_t checkSequences(const GradcacheSequences* s, const void* distanceBias, const DropoutKey& key);
cudaError_t checkHeadRows(const GradcacheSequences& s, const GradcacheHeadRows* rows, const void* out,
                          int64_t outStride);

}  // namespace gradcache::kernels::cuda
