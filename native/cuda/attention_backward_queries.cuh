// The gradient of the queries of sequences that no block holds whole: a warp owns 16 queries of one head and
// walks over the keys.
#pragma once

#include "cuda/attention_row_terms.cuh"

namespace gradcache::kernels::cuda {

template <int kSize>
struct QueriesShape {
  // The most tiles of 16 queries of a block, and keys at a time: what shared memory of 99 KiB holds.
  static constexpr int kTiles = kSize <= 64 ? 8 : kSize == 128 ? 4 : 2;
  static constexpr int kKeys = kSize <= 64 ? 64 : kSize == 128 ? 32 : 16;

  static constexpr int bytes(int tiles) {
    return (3 * 16 * tiles + 4 * kKeys) * HeadRows<kSize>::kBytes +
           16 * tiles * static_cast<int>(sizeof(RowTerms));
  }
};

template <int kSize, Mode kMode, bool kGeneral>
__global__ __launch_bounds__(32 * QueriesShape<kSize>::kTiles,
                             2) void attentionBackwardQueries(AttentionWork work, BackwardTensors in) {
  using Rows = HeadRows<kSize>;
  constexpr int kTileBytes = 16 * Rows::kBytes, kKeys = QueriesShape<kSize>::kKeys,
                kKeyBytes = kKeys * Rows::kBytes;
  extern __shared__ __align__(128) unsigned char memory[];
  const int lane = threadIdx.x & 31, warp = threadIdx.x / 32, g = lane >> 2, c = lane & 3;
  const int rows = blockDim.x / 2;
  const uint32_t queries = sharedAddress(memory), douts = queries + rows * Rows::kBytes;
  const uint32_t outs = douts + rows * Rows::kBytes;
  const uint32_t keys = outs + rows * Rows::kBytes;  // two stages of keys, then values
  RowTerms* terms = reinterpret_cast<RowTerms*>(memory + 3 * rows * Rows::kBytes + 4 * kKeyBytes);
  const uint32_t rowsFirst = Rows::rowsFirst(lane), columnsFirst = Rows::columnsFirst(lane);
  const uint32_t own = queries + warp * kTileBytes, ownDouts = douts + warp * kTileBytes;
  const uint32_t ownOut = outs + warp * kTileBytes;
  const int hidden = work.heads * kSize;
  const int group = kGeneral ? work.heads / work.keyHeads : 1;
  const float scaleLog2 = work.scale * kLog2e, kept = kMode == kPlain ? 1.0f : work.key.scale;
  const uint32_t highThreshold = work.key.threshold << 16;

  forEachItem(work, work.heads, rows, [&](const AttentionItem& item) {
    const int headColumn = item.head * kSize, keyColumn = item.head / group * kSize;
    const bfloat16* sequence = in.queriesKeys + int64_t{item.begin} * work.stride;
    const KeyStages<kKeys, kGeneral> stages(work, item, rows);
    auto copyStage = [&](int stage) {
      const int64_t begin = computedHere(item.begin);
      copyKeys<kSize, kKeys>(keys, in.queriesKeys + begin * work.stride + hidden + keyColumn,
                             in.values + begin * work.valueStride + keyColumn, stage, item.length, work);
    };
    const int ownFirst = item.first + warp * 16, query = ownFirst + g;
    const bool busy = ownFirst < item.length;
    float normalizer[2];
    __syncthreads();  // the previous item's rows are no longer read
    if (busy) {
      const int64_t token = item.begin + ownFirst;
      const int present = item.length - ownFirst;
      Rows::copy(own, sequence + int64_t{ownFirst} * work.stride + headColumn, work.stride, present);
      Rows::copy(ownDouts, in.dout + token * hidden + headColumn, hidden, present);
      Rows::copy(ownOut, in.out + token * work.outStride + headColumn, work.outStride, present);
    }
    copyStage(stages.begin);
    if (stages.begin + 1 < stages.end) copyStage(stages.begin + 1);
    if (busy) loadNormalizers(normalizer, work, in, item, item.head, ownFirst);
    float dq[kSize / 8][4] = {};
    // Larger heads are read again for every tile: registers to keep them do not suffice.
    constexpr bool kKeeps = kSize <= 128;
    uint32_t q[kKeeps ? kSize / 16 : 1][4], dout[kKeeps ? kSize / 16 : 1][4], hash[2] = {};
    if (kMode != kPlain) {
      const uint32_t token = item.begin + query;
      hash[0] = dropoutRow(work.key, token * work.heads + item.head) + c * kDropoutColumnStep;
      hash[1] = dropoutRow(work.key, (token + 8) * work.heads + item.head) + c * kDropoutColumnStep;
    }
    RowTerms ownTerms[2];

    for (int stage = stages.begin; stage < stages.end; ++stage) {
      if (stage + 1 < stages.end) {
        waitForCopies<1>();
      } else {
        waitForCopies<0>();
      }
      __syncthreads();
      if (busy) {
        if (stage == stages.begin) {
          rowTerms<kSize>(work, item, item.head, ownFirst, normalizer, ownDouts, ownOut, terms + warp * 16,
                          nullptr);
          __syncwarp();
#pragma unroll
          for (int step = 0; kKeeps && step < kSize / 16; ++step) {
            loadMatrices(q[step], own + (rowsFirst ^ step * 32));
            loadMatrices(dout[step], ownDouts + (rowsFirst ^ step * 32));
          }
          ownTerms[0] = terms[warp * 16 + g];
          ownTerms[1] = terms[warp * 16 + g + 8];
        }
        TileRange tiles{0, min(kKeys / 16, (item.length - stage * kKeys + 15) / 16)};
        if (kGeneral) tiles = keyTilesOf(work, ownFirst, stage * kKeys, tiles.end);
#pragma unroll 1
        for (int tile = tiles.begin; tile < tiles.end; ++tile) {
          const uint32_t k = keys + (stage & 1) * 2 * kKeyBytes + tile * kTileBytes, v = k + kKeyBytes;
          const int firstKey = stage * kKeys + tile * 16;
          float s[2][4] = {}, dp[2][4] = {};
#pragma unroll
          for (int step = 0; step < kSize / 16; ++step) {
            uint32_t b[4];
            const int kept = kKeeps ? step : 0;
            if (!kKeeps) {
              loadMatrices(q[0], own + (rowsFirst ^ step * 32));
              loadMatrices(dout[0], ownDouts + (rowsFirst ^ step * 32));
            }
            loadMatrices(b, k + (columnsFirst ^ step * 32));
            multiplyAdd(s[0], q[kept], b[0], b[1]);
            multiplyAdd(s[1], q[kept], b[2], b[3]);
            loadMatrices(b, v + (columnsFirst ^ step * 32));
            multiplyAdd(dp[0], dout[kept], b[0], b[1]);
            multiplyAdd(dp[1], dout[kept], b[2], b[3]);
          }
          const bool cut = kGeneral && !allSeeAll(work, ownFirst, firstKey);
          uint32_t ds[4];
#pragma unroll
          for (int n = 0; n < 2; ++n) {
#pragma unroll
            for (int r = 0; r < 2; ++r) {
              const int key = firstKey + n * 8 + 2 * c;
              const uint32_t bits = kMode == kPlain ? 0 : dropoutPair(hash[r], (firstKey >> 1) + 4 * n);
              float gradient[2];
#pragma unroll
              for (int e = 0; e < 2; ++e) {
                float x = s[n][2 * r + e] * scaleLog2;
                if (kMode == kDropoutAndBias)
                  x = fmaf(biasOf(work, item, item.head, query + 8 * r, key + e), kLog2e, x);
                float full = powerOfTwo(x - ownTerms[r].normalizer);
                if (key + e >= item.length || (cut && !sees(work, query + 8 * r, key + e))) full = 0.0f;
                const bool keep = kMode == kPlain || (e ? bits : bits << 16) >= highThreshold;
                gradient[e] = full * fmaf(dp[n][2 * r + e], keep ? kept : 0.0f, -ownTerms[r].common);
              }
              ds[2 * n + r] = pack(gradient[0], gradient[1]);
            }
          }
#pragma unroll
          for (int j = 0; j < kSize / 16; ++j) {
            uint32_t b[4];
            loadMatricesTransposed(b, k + (rowsFirst ^ j * 32));
            multiplyAdd(dq[2 * j], ds, b[0], b[1]);
            multiplyAdd(dq[2 * j + 1], ds, b[2], b[3]);
          }
        }
      }
      if (stage + 2 < stages.end) {
        __syncthreads();
        copyStage(stage + 2);
      }
    }
    if (!busy) return;
    Rows::store(dq, work.scale, work.scale, own,
                in.dqkv + int64_t{item.begin + ownFirst} * work.gradientStride + headColumn,
                work.gradientStride, item.length - ownFirst);
  });
}

}  // namespace gradcache::kernels::cuda
