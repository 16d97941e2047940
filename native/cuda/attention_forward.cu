// Attention over packed sequences, forward. A warp owns 16 queries of one head and walks over the keys, 16 *
// kTiles at a time, with the softmax rescaled as its maximum grows; scores and probabilities never leave its
// registers. Blocks are as large as the longest sequence asks (one warp for 16 tokens), so that short
// sequences fill the device.
#include "cuda/attention.cuh"

namespace gradcache::kernels::cuda {

namespace {

// Keys that a warp meets at a time, in tiles of 16, and how large blocks are and how many a multiprocessor
// holds, which bounds a thread's registers.
template <int kSize, int kTiles>
struct ForwardShape {
  static constexpr int kThreads = kSize <= 64 && kTiles == 2 ? 64 : 32 * kWarpsMost<kSize>;
  static constexpr int kBlocks = kSize == 128 ? 4 : kSize <= 64 && kTiles == 2 ? 8 : 2;
};

template <int kSize, Mode kMode, bool kGeneral, int kTiles>
__global__ __launch_bounds__(
    ForwardShape<kSize, kTiles>::kThreads,
    ForwardShape<kSize, kTiles>::kBlocks) void attentionForward(AttentionWork work,
                                                                const bfloat16* __restrict__ queriesKeys,
                                                                const bfloat16* __restrict__ values,
                                                                bfloat16* __restrict__ out,
                                                                float* __restrict__ normalizer) {
  using Rows = HeadRows<kSize>;
  constexpr int kTileBytes = 16 * Rows::kBytes, kKeys = 16 * kTiles, kKeyBytes = kTiles * kTileBytes;
  extern __shared__ __align__(128) unsigned char memory[];
  const int lane = threadIdx.x & 31, warp = threadIdx.x / 32, g = lane >> 2, c = lane & 3;
  const int rows = blockDim.x / 2;
  const uint32_t queries = sharedAddress(memory), own = queries + warp * kTileBytes;
  const uint32_t keys = queries + rows * Rows::kBytes;  // two stages of keys, then values
  const uint32_t rowsFirst = Rows::rowsFirst(lane), columnsFirst = Rows::columnsFirst(lane);
  const int hidden = work.heads * kSize;
  const int group = kGeneral ? work.heads / work.keyHeads : 1;
  const float scaleLog2 = work.scale * kLog2e;
  const uint32_t highThreshold = work.key.threshold << 16;
  // Scores are kept as products; with a bias they are scaled as they are added to it.
  const float unit = kMode == kDropoutAndBias ? 1.0f : scaleLog2;

  forEachItem(work, work.heads, rows, [&](const AttentionItem& item) {
    const bfloat16* sequence = queriesKeys + int64_t{item.begin} * work.stride;
    const bfloat16* source = sequence + item.head * kSize;
    const int keyColumn = item.head / group * kSize;
    const bfloat16* keySource = sequence + hidden + keyColumn;
    const bfloat16* valueSource = values + int64_t{item.begin} * work.valueStride + keyColumn;
    const KeyStages<kKeys, kGeneral> stages(work, item, rows);
    auto copyStage = [&](int stage) {
      copyKeys<kSize, kKeys>(keys, keySource, valueSource, stage, item.length, work);
    };
    const int ownFirst = item.first + warp * 16, query = ownFirst + g;  // and query + 8
    const bool busy = ownFirst < item.length;
    __syncthreads();  // the previous item's rows are no longer read
    if (busy) Rows::copy(own, source + int64_t{ownFirst} * work.stride, work.stride, item.length - ownFirst);
    copyStage(stages.begin);
    if (stages.begin + 1 < stages.end) copyStage(stages.begin + 1);

    const uint32_t token = item.begin + query;
    uint32_t hash[2] = {};
    if (kMode != kPlain) {
      hash[0] = dropoutRow(work.key, token * work.heads + item.head) + c * kDropoutColumnStep;
      hash[1] = dropoutRow(work.key, (token + 8) * work.heads + item.head) + c * kDropoutColumnStep;
    }
    float o[kSize / 8][4] = {};
    float largest[2] = {-INFINITY, -INFINITY}, total[2] = {0.0f, 0.0f};

    for (int stage = stages.begin; stage < stages.end; ++stage) {
      if (stage + 1 < stages.end) {
        waitForCopies<1>();
      } else {
        waitForCopies<0>();
      }
      __syncthreads();
      if (busy) {
        const uint32_t k = keys + (stage & 1) * 2 * kKeyBytes, v = k + kKeyBytes;
        const int left = item.length - stage * kKeys;
        TileRange tiles{0, min((left + 15) / 16, kTiles)};
        if (kGeneral) tiles = keyTilesOf(work, ownFirst, stage * kKeys, tiles.end);
        auto skips = [&](int t) { return (kGeneral && t < tiles.begin) || t >= tiles.end; };
        float s[2 * kTiles][4] = {};
#pragma unroll
        for (int step = 0; step < kSize / 16; ++step) {
          uint32_t a[4];
          loadMatrices(a, own + (rowsFirst ^ step * 32));
#pragma unroll
          for (int t = 0; t < kTiles; ++t) {
            if (!skips(t)) {
              uint32_t b[4];
              loadMatrices(b, k + t * kTileBytes + (columnsFirst ^ step * 32));
              multiplyAdd(s[2 * t], a, b[0], b[1]);
              multiplyAdd(s[2 * t + 1], a, b[2], b[3]);
            }
          }
        }
        float before[2] = {largest[0], largest[1]};
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
          if (skips(t)) continue;
          const bool ragged = 16 * (t + 1) > left;
          const bool cut = kGeneral && !allSeeAll(work, ownFirst, stage * kKeys + t * 16);
#pragma unroll
          for (int n = 2 * t; n < 2 * t + 2; ++n) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
              const int key = 8 * n + 2 * c + (e & 1);
              if ((ragged && key >= left) ||
                  (cut && !sees(work, query + (e >> 1) * 8, stage * kKeys + key))) {
                s[n][e] = -INFINITY;
              } else if (kMode == kDropoutAndBias) {
                // A query beyond the sequence's end has no bias of its own; any will do.
                const int row = min(query + (e >> 1) * 8, item.length - 1);
                const int64_t distance = stage * kKeys + key - row + work.longest - 1;
                const float bias = __bfloat162float(
                    work.distanceBias[item.head * (2 * int64_t{work.longest} - 1) + distance]);
                s[n][e] = fmaf(s[n][e], scaleLog2, bias * kLog2e);
              }
              largest[e >> 1] = fmaxf(largest[e >> 1], s[n][e]);
            }
          }
        }
        float shift[2];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          largest[r] = fmaxf(largest[r], __shfl_xor_sync(0xffffffffu, largest[r], 1));
          largest[r] = fmaxf(largest[r], __shfl_xor_sync(0xffffffffu, largest[r], 2));
          // Where a query sees none of these keys, or their bias is minus infinity, the sums so far must not
          // become NaN.
          const bool nothing = (kGeneral || kMode == kDropoutAndBias) && largest[r] == -INFINITY;
          shift[r] = nothing ? 0.0f : -largest[r] * unit;
        }
        if (stage > stages.begin) {
          const float shrink[2] = {powerOfTwo(fmaf(before[0], unit, shift[0])),
                                   powerOfTwo(fmaf(before[1], unit, shift[1]))};
          total[0] *= shrink[0];
          total[1] *= shrink[1];
#pragma unroll
          for (int j = 0; j < kSize / 8; ++j) {
#pragma unroll
            for (int e = 0; e < 4; ++e) o[j][e] *= shrink[e >> 1];
          }
        }
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
          if (skips(t)) continue;
          uint32_t p[4];
#pragma unroll
          for (int half = 0; half < 2; ++half) {
#pragma unroll
            for (int r = 0; r < 2; ++r) {
              const float(&score)[4] = s[2 * t + half];
              float even = powerOfTwo(fmaf(score[2 * r], unit, shift[r]));
              float odd = powerOfTwo(fmaf(score[2 * r + 1], unit, shift[r]));
              total[r] += even + odd;
              if (kMode != kPlain) {
                const uint32_t bits =
                    dropoutPair(hash[r] + stage * (kKeys / 2) * kDropoutColumnStep, 8 * t + 4 * half);
                if (bits << 16 < highThreshold) even = 0.0f;
                if (bits < highThreshold) odd = 0.0f;
              }
              p[2 * half + r] = pack(even, odd);
            }
          }
#pragma unroll
          for (int j = 0; j < kSize / 16; ++j) {
            uint32_t b[4];
            loadMatricesTransposed(b, v + t * kTileBytes + (rowsFirst ^ j * 32));
            multiplyAdd(o[2 * j], p, b[0], b[1]);
            multiplyAdd(o[2 * j + 1], p, b[2], b[3]);
          }
        }
      }
      if (stage + 2 < stages.end) {
        __syncthreads();
        copyStage(stage + 2);
      }
    }
    if (!busy) return;
    float factor[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      total[r] += __shfl_xor_sync(0xffffffffu, total[r], 1);
      total[r] += __shfl_xor_sync(0xffffffffu, total[r], 2);
      factor[r] = (kMode == kPlain ? 1.0f : work.key.scale) / total[r];
      if (c == 0 && query + 8 * r < item.length)
        normalizer[item.head * work.tokens + token + 8 * r] = largest[r] * unit * kLn2 + logf(total[r]);
    }
    Rows::store(o, factor[0], factor[1], own,
                out + int64_t{item.begin + ownFirst} * work.outStride + item.head * kSize, work.outStride,
                item.length - ownFirst);
  });
}

template <int kSize, Mode kMode, bool kGeneral, int kTiles>
int launch(const AttentionWork& work, int warps, void* stream, const GradcacheHeadRows& in, void* out,
           float* normalizer) {
  constexpr int kKeys = 16 * kTiles;
  const int stages = work.upTo <= kKeys ? 1 : 2, rows = 16 * warps;
  const int bytes = (rows + 2 * stages * kKeys) * HeadRows<kSize>::kBytes;
  return launchAttention(attentionForward<kSize, kMode, kGeneral, kTiles>, work, work.heads, rows, warps,
                         bytes, stream, static_cast<const bfloat16*>(in.queriesKeys),
                         static_cast<const bfloat16*>(in.values), static_cast<bfloat16*>(out), normalizer);
}

template <int kSize, Mode kMode, bool kGeneral>
int forward(const GradcacheSequences& s, AttentionWork work, const GradcacheHeadRows& in, void* out,
            float* normalizer) {
  return forEachLengthClass(s, 128, [&](int above, int upTo, int tiles) {
    work.above = above;
    work.upTo = upTo;
    const int warps = tilesOfBlock<kSize>(tiles, kWarpsMost<kSize>);
    if constexpr (kSize <= 64) {
      if (upTo > 32) return launch<kSize, kMode, kGeneral, 4>(work, warps, s.stream, in, out, normalizer);
    }
    return launch<kSize, kMode, kGeneral, 2>(work, warps, s.stream, in, out, normalizer);
  });
}

template <int kSize>
int forward(const GradcacheSequences& s, const AttentionWork& work, const GradcacheHeadRows& in, void* out,
            float* normalizer) {
  switch (attentionMode(work)) {
    case kPlain:
      return forward<kSize, kPlain, false>(s, work, in, out, normalizer);
    case kDropout:
      return forward<kSize, kDropout, false>(s, work, in, out, normalizer);
    default:
      return forward<kSize, kDropoutAndBias, false>(s, work, in, out, normalizer);
  }
}

}  // namespace

cudaError_t checkSequences(const GradcacheSequences* s, const void* distanceBias, const DropoutKey& key) {
  const bool valid =
      s && s->sequences >= 0 && s->tokens >= 0 && s->heads > 0 && s->keyHeads > 0 &&
      s->heads % s->keyHeads == 0 && s->before >= 0 && s->after >= 0 &&
      s->longest <= gradcache_attention_longest(s->size, isGeneral(*s), distanceBias || key.active());
  return valid ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t checkHeadRows(const GradcacheSequences& s, const GradcacheHeadRows* rows, const void* out,
                          int64_t outStride) {
  using gradcache::cuda::checkStride;
  if (!rows) return cudaErrorInvalidValue;
  if (cudaError_t error = checkStride(rows->stride, int64_t{s.heads + s.keyHeads} * s.size)) return error;
  if (cudaError_t error = checkStride(rows->valueStride, int64_t{s.keyHeads} * s.size)) return error;
  if (cudaError_t error = checkStride(outStride, int64_t{s.heads} * s.size)) return error;
  return gradcache::cuda::checkAligned(rows->queriesKeys, rows->values, out);
}

}  // namespace gradcache::kernels::cuda

// Any length works; beyond this nobody has looked.
extern "C" int gradcache_attention_longest(int32_t size, int32_t general, int32_t dropped) {
  const bool taken = size == 32                   ? !general
                     : size == 64                 ? !(general && dropped)
                     : size == 128 || size == 256 ? !dropped
                                                  : false;
  return taken ? 8192 : 0;
}

extern "C" int gradcache_attention_forward(const GradcacheSequences* s, const GradcacheHeadRows* rows,
                                           const void* distanceBias, float scale, gradcache::DropoutKey key,
                                           void* out, int64_t outStride, float* normalizer) {
  using namespace gradcache::kernels::cuda;
  if (cudaError_t error = checkSequences(s, distanceBias, key)) return error;
  if (cudaError_t error = checkHeadRows(*s, rows, out, outStride)) return error;
  if (s->sequences == 0 || s->tokens == 0) return cudaSuccess;
  const AttentionWork work = attentionWork(*s, *rows, outStride, distanceBias, scale, key);
  switch (s->size) {
    case 32:
      return forward<32>(*s, work, *rows, out, normalizer);
    case 64:
      return isGeneral(*s) ? forward<64, kPlain, true>(*s, work, *rows, out, normalizer)
                           : forward<64>(*s, work, *rows, out, normalizer);
    case 128:
      return forward<128, kPlain, true>(*s, work, *rows, out, normalizer);
    default:
      return forward<256, kPlain, true>(*s, work, *rows, out, normalizer);
  }
}
