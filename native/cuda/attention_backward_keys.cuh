// Gradients of keys and values, and where a block holds the whole sequence of the queries too.
#pragma once

#include "cuda/attention_row_terms.cuh"

namespace gradcache::kernels::cuda {

template <int kSize>
struct KeysShape {
  // Warps that share 16 keys: each has the gradients of its part of their columns in registers.
  static constexpr int kParts = kSize > 128 ? 2 : 1, kOwn = kSize / kParts;
  // Of a gradient of queries, which gathers beside those: columns at a time.
  static constexpr int kAtATime = kOwn > 64 ? 32 : kOwn;
  // The most tiles of 16 rows of a block that holds the whole sequence: eight warps, so that a thread's
  // gradients fit its registers.
  static constexpr int kWhole = 8 / kParts;
  static constexpr int kThreads = 256, kBlocks = kSize <= 64 ? 2 : 1;

  // Bytes of a row of ds in shared memory: multiples of 128, so that pieces can be permuted as in HeadRows.
  // Before, the rows of `out` lie there.
  __host__ __device__ static constexpr int scoreRowBytes(int tiles) {
    return tiles <= 4 && kSize <= 64 ? 128 : kSize <= 128 ? 256 : 512;
  }
  static constexpr int bytes(int tiles, bool whole) {
    const int row = whole ? scoreRowBytes(tiles) : HeadRows<kSize>::kBytes;
    return 16 * tiles *
           (4 * HeadRows<kSize>::kBytes + row + static_cast<int>(sizeof(RowTerms) + sizeof(uint32_t)));
  }
};

__device__ __forceinline__ uint32_t scorePlace(int rowBytes, int row, int piece) {
  return row * rowBytes + ((piece ^ (row & 7)) << 4);
}

// An item is 16 keys of one head a warp, or a pair of warps. It walks over the queries of every head that the
// keys serve, with transposed scores (rows: keys).
template <int kSize, Mode kMode, bool kGeneral, bool kWhole>
__global__ __launch_bounds__(KeysShape<kSize>::kThreads,
                             KeysShape<kSize>::kBlocks) void attentionBackwardKeys(AttentionWork work,
                                                                                   BackwardTensors in) {
  using Rows = HeadRows<kSize>;
  using Shape = KeysShape<kSize>;
  using OwnRows = HeadRows<Shape::kOwn>;
  using QueryRows = HeadRows<Shape::kAtATime>;
  constexpr int kParts = Shape::kParts;
  // A tile of 16 keys, their values, 16 queries and the gradients of their outputs lie one after another, so
  // that one address serves all four.
  constexpr int kPart = 16 * Rows::kBytes, kValues = kPart, kQueries = 2 * kPart, kDouts = 3 * kPart;
  constexpr int kTileBytes = 4 * kPart;
  extern __shared__ __align__(128) unsigned char memory[];
  const int lane = threadIdx.x & 31, warp = threadIdx.x / 32 / kParts, part = threadIdx.x / 32 % kParts;
  const int g = lane >> 2, c = lane & 3, column = part * Shape::kOwn;
  const int rows = blockDim.x / 2 / kParts, scoreBytes = Shape::scoreRowBytes(rows / 16);
  const uint32_t tileRows = sharedAddress(memory), own = tileRows + warp * kTileBytes;
  const uint32_t scores = tileRows + 4 * rows * Rows::kBytes;
  const int outBytes = kWhole ? rows * scoreBytes : rows * Rows::kBytes;
  RowTerms* terms = reinterpret_cast<RowTerms*>(memory + 4 * rows * Rows::kBytes + outBytes);
  uint32_t* hashes = reinterpret_cast<uint32_t*>(terms + rows);
  const uint32_t rowsFirst = Rows::rowsFirst(lane), columnsFirst = Rows::columnsFirst(lane);
  const uint32_t ownOut = scores + warp * (kWhole ? 16 * scoreBytes : kPart);
  const int hidden = work.heads * kSize, keyHidden = (kGeneral ? work.keyHeads : work.heads) * kSize;
  const int group = kGeneral ? work.heads / work.keyHeads : 1;
  const float scaleLog2 = work.scale * kLog2e, kept = kMode == kPlain ? 1.0f : work.key.scale;
  const uint32_t highThreshold = work.key.threshold << 16;

  forEachItem(work, work.keyHeads, rows, [&](const AttentionItem& item) {
    const int ownFirst = item.first + warp * 16;
    const bool busy = ownFirst < item.length;
    __syncthreads();  // the previous item's rows are no longer read
    if (busy && part == 0) {
      const int64_t token = item.begin + ownFirst;
      Rows::copy(own, in.queriesKeys + token * work.stride + hidden + item.head * kSize, work.stride,
                 item.length - ownFirst);
      Rows::copy(own + kValues, in.values + token * work.valueStride + item.head * kSize, work.valueStride,
                 item.length - ownFirst);
    }
    float dk[Shape::kOwn / 8][4] = {}, dv[Shape::kOwn / 8][4] = {};
    auto storeKeys = [&] {
      const uint32_t shared = own + kValues + part * 16 * OwnRows::kBytes;
      bfloat16* target = in.dqkv + int64_t{item.begin + ownFirst} * work.gradientStride + hidden +
                         item.head * kSize + column;
      OwnRows::store(dv, kept, kept, shared, target + keyHidden, work.gradientStride, item.length - ownFirst);
      OwnRows::store(dk, work.scale, work.scale, shared, target, work.gradientStride, item.length - ownFirst);
    };
    // The queries that some of the block's keys are seen by.
    int firstQuery = 0, endQuery = item.length;
    if (kGeneral && !kWhole) {
      firstQuery = max(0, item.first - work.after);
      endQuery = min(item.length, item.first + rows + work.before);
    }

    for (int member = 0; member < group; ++member) {
      const int head = item.head * group + member;
      for (int first = firstQuery; first < endQuery; first += rows) {
        if (member > 0 || (!kWhole && first > firstQuery)) __syncthreads();
        const int here = min(endQuery - first, rows), ownRow = first + warp * 16;
        if (ownRow < item.length) {
          const int present = item.length - ownRow;
          const int64_t token = item.begin + ownRow;
          const int headColumn = head * kSize;
          float normalizer[2];
          if (part == 0)
            Rows::copy(own + kQueries, in.queriesKeys + token * work.stride + headColumn, work.stride,
                       present);
          if (part == kParts - 1) {
            Rows::copy(own + kDouts, in.dout + token * hidden + headColumn, hidden, present);
            Rows::copy(ownOut, in.out + token * work.outStride + headColumn, work.outStride, present);
            loadNormalizers(normalizer, work, in, item, head, ownRow);
          }
          commitCopies();
          waitForCopies<0>();
          __syncwarp();
          if (part == kParts - 1)
            rowTerms<kSize>(work, item, head, ownRow, normalizer, own + kDouts, ownOut, terms + warp * 16,
                            kMode == kPlain ? nullptr : hashes + warp * 16);
        }
        __syncthreads();
        if (!busy) continue;
        TileRange tiles{0, (here + 15) / 16};
        if (kGeneral) tiles = queryTilesOf(work, ownFirst, first, tiles.end);
#pragma unroll 1
        for (int tile = tiles.begin; tile < tiles.end; ++tile) {
          const uint32_t met = tileRows + tile * kTileBytes;
          float s[2][4] = {}, dp[2][4] = {};
#pragma unroll
          for (int step = 0; step < kSize / 16; ++step) {
            // Keys and values are read again for every tile: registers to keep them do not suffice.
            uint32_t a[4], b[4];
            loadMatrices(a, own + (rowsFirst ^ step * 32));
            loadMatrices(b, met + kQueries + (columnsFirst ^ step * 32));
            multiplyAdd(s[0], a, b[0], b[1]);
            multiplyAdd(s[1], a, b[2], b[3]);
            loadMatrices(a, own + kValues + (rowsFirst ^ step * 32));
            loadMatrices(b, met + kDouts + (columnsFirst ^ step * 32));
            multiplyAdd(dp[0], a, b[0], b[1]);
            multiplyAdd(dp[1], a, b[2], b[3]);
          }
          const bool cut = kGeneral && !allSeeAll(work, first + tile * 16, ownFirst);
          uint32_t p[4], ds[4];
#pragma unroll
          for (int n = 0; n < 2; ++n) {
            const int place = tile * 16 + n * 8 + 2 * c;  // of two neighbouring queries, columns of s
            const float4 both = *reinterpret_cast<const float4*>(terms + place);
            const float rowNormalizer[2] = {both.x, both.z}, rowCommon[2] = {both.y, both.w};
            // The pair of keys that shares a hash lies in lanes g and g ^ 1: each makes the hash of one of
            // the queries.
            const uint32_t hash = kMode == kPlain ? 0 : hashes[place + (g & 1)];
#pragma unroll
            for (int r = 0; r < 2; ++r) {
              const int key = ownFirst + g + 8 * r;
              uint32_t bits = 0;  // low half: of the first query, high half: of the second
              if (kMode != kPlain) {
                const uint32_t mine = dropoutPair(hash, key >> 1),
                               other = __shfl_xor_sync(0xffffffffu, mine, 4);
                bits = __byte_perm(mine, other, g & 1 ? 0x3276 : 0x5410);
              }
              float probability[2], gradient[2];
#pragma unroll
              for (int e = 0; e < 2; ++e) {
                float x = s[n][2 * r + e] * scaleLog2;
                if (kMode == kDropoutAndBias)
                  x = fmaf(biasOf(work, item, head, first + place + e, key), kLog2e, x);
                float full = powerOfTwo(x - rowNormalizer[e]);
                if (key >= item.length || (cut && !sees(work, first + place + e, key))) full = 0.0f;
                const bool keep = kMode == kPlain || (e ? bits : bits << 16) >= highThreshold;
                probability[e] = keep ? full : 0.0f;
                gradient[e] = full * fmaf(dp[n][2 * r + e], keep ? kept : 0.0f, -rowCommon[e]);
              }
              p[2 * n + r] = pack(probability[0], probability[1]);
              ds[2 * n + r] = pack(gradient[0], gradient[1]);
              if (kWhole && part == 0)
                storeShared(scores + scorePlace(scoreBytes, warp * 16 + g + 8 * r, 2 * tile + n) + c * 4,
                            ds[2 * n + r]);
            }
          }
#pragma unroll
          for (int j = 0; j < Shape::kOwn / 16; ++j) {
            uint32_t b[4];
            loadMatricesTransposed(b, met + kDouts + (rowsFirst ^ (column / 16 + j) * 32));
            multiplyAdd(dv[2 * j], p, b[0], b[1]);
            multiplyAdd(dv[2 * j + 1], p, b[2], b[3]);
            loadMatricesTransposed(b, met + kQueries + (rowsFirst ^ (column / 16 + j) * 32));
            multiplyAdd(dk[2 * j], ds, b[0], b[1]);
            multiplyAdd(dk[2 * j + 1], ds, b[2], b[3]);
          }
        }
      }
      if (!kWhole) continue;
      const bool last = member + 1 == group;
      if (kParts == 1 && last && busy) storeKeys();
      __syncthreads();
      if (!busy) continue;
      if (kParts > 1 && last) storeKeys();
      TileRange tiles{0, (item.length + 15) / 16};
      if (kGeneral) tiles = keyTilesOf(work, ownFirst, 0, tiles.end);
      for (int done = 0; done < Shape::kOwn; done += Shape::kAtATime) {
        float dq[Shape::kAtATime / 8][4] = {};
#pragma unroll 1
        for (int tile = tiles.begin; tile < tiles.end; ++tile) {
          uint32_t a[4];
          loadMatricesTransposed(a,
                                 scores + scorePlace(scoreBytes, tile * 16 + (lane & 7) + ((lane >> 4) << 3),
                                                     2 * warp + ((lane >> 3) & 1)));
#pragma unroll
          for (int j = 0; j < Shape::kAtATime / 16; ++j) {
            uint32_t b[4];
            loadMatricesTransposed(
                b, tileRows + tile * kTileBytes + (rowsFirst ^ ((column + done) / 16 + j) * 32));
            multiplyAdd(dq[2 * j], a, b[0], b[1]);
            multiplyAdd(dq[2 * j + 1], a, b[2], b[3]);
          }
        }
        // No warp reads the queries any more.
        QueryRows::store(
            dq, work.scale, work.scale, own + kQueries + part * 16 * QueryRows::kBytes,
            in.dqkv + int64_t{item.begin + ownFirst} * work.gradientStride + head * kSize + column + done,
            work.gradientStride, item.length - ownFirst);
      }
    }
    if (kWhole) return;
    if (kParts > 1) __syncthreads();  // the other warp of the pair no longer reads the values
    if (busy) storeKeys();
  });
}

}  // namespace gradcache::kernels::cuda
