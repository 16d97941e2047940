// Attention over packed sequences, forward. A warp owns 16 queries of one head and walks over the keys, 16 *
// kTiles at a time, with the softmax rescaled as its maximum grows; scores and probabilities never leave its
// registers. Blocks are as large as the longest sequence asks (one warp for 16 tokens), so that short
// sequences fill the device.
#include "cuda/attention.cuh"

namespace gradcache::kernels::cuda {

namespace {

template <int kSize, Mode kMode, int kTiles>
__global__ __launch_bounds__(kTiles == 2 ? 64 : 32 * kWarpsMost,
                             kTiles == 2 ? 8 : 2) void attentionForward(AttentionWork work,
                                                                        const bfloat16* __restrict__ qkv,
                                                                        bfloat16* __restrict__ out,
                                                                        float* __restrict__ normalizer) {
  using Rows = HeadRows<kSize>;
  constexpr int kTileBytes = 16 * Rows::kBytes, kKeys = 16 * kTiles, kKeyBytes = kTiles * kTileBytes;
  extern __shared__ __align__(128) unsigned char memory[];
  const int lane = threadIdx.x & 31, warp = threadIdx.x / 32, g = lane >> 2, c = lane & 3;
  const uint32_t queries = sharedAddress(memory), own = queries + warp * kTileBytes;
  const uint32_t keys = queries + (blockDim.x / 2) * Rows::kBytes;  // two stages of keys, then values
  const uint32_t rowsFirst = Rows::rowsFirst(lane), columnsFirst = Rows::columnsFirst(lane);
  const int hidden = work.heads * kSize, stride = 3 * hidden;
  const float scaleLog2 = work.scale * kLog2e;
  const uint32_t highThreshold = work.key.threshold << 16;
  // Scores are kept as products; with a bias they are scaled as they are added to it.
  const float unit = kMode == kDropoutAndBias ? 1.0f : scaleLog2;

  forEachItem(work, [&](const AttentionItem& item) {
    const bfloat16* source = qkv + int64_t{item.begin} * stride + item.head * kSize;
    const int stages = (item.length + kKeys - 1) / kKeys;
    // Tiles of 16 keys go to the warps in turn.
    auto copyStage = [&](int stage) {
      const uint32_t target = keys + (stage & 1) * 2 * kKeyBytes;
      for (int tile = warp; tile < kTiles; tile += blockDim.x / 32) {
        const int first = stage * kKeys + tile * 16;
        if (first >= item.length) break;
        const bfloat16* rows = source + int64_t{first} * stride + hidden;
        Rows::copy(target + tile * kTileBytes, rows, stride, item.length - first);
        Rows::copy(target + tile * kTileBytes + kKeyBytes, rows + hidden, stride, item.length - first);
      }
      commitCopies();
    };
    const int ownFirst = item.first + warp * 16, query = ownFirst + g;  // and query + 8
    const bool busy = ownFirst < item.length;
    __syncthreads();  // the previous item's rows are no longer read
    if (busy) Rows::copy(own, source + int64_t{ownFirst} * stride, stride, item.length - ownFirst);
    copyStage(0);
    if (stages > 1) copyStage(1);

    const uint32_t token = item.begin + query;
    uint32_t hash[2] = {};
    if (kMode != kPlain) {
      hash[0] = dropoutRow(work.key, token * work.heads + item.head) + c * kDropoutColumnStep;
      hash[1] = dropoutRow(work.key, (token + 8) * work.heads + item.head) + c * kDropoutColumnStep;
    }
    float o[kSize / 8][4] = {};
    float largest[2] = {-INFINITY, -INFINITY}, total[2] = {0.0f, 0.0f};

    for (int stage = 0; stage < stages; ++stage) {
      if (stage + 1 < stages) {
        waitForCopies<1>();
      } else {
        waitForCopies<0>();
      }
      __syncthreads();
      if (busy) {
        const uint32_t k = keys + (stage & 1) * 2 * kKeyBytes, v = k + kKeyBytes;
        const int left = item.length - stage * kKeys;
        const int tiles = min((left + 15) / 16, kTiles);
        float s[2 * kTiles][4] = {};
#pragma unroll
        for (int step = 0; step < kSize / 16; ++step) {
          uint32_t a[4];
          loadMatrices(a, own + (rowsFirst ^ step * 32));
#pragma unroll
          for (int t = 0; t < kTiles; ++t) {
            if (t < tiles) {
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
          if (t >= tiles) continue;
          const bool ragged = 16 * (t + 1) > left;
#pragma unroll
          for (int n = 2 * t; n < 2 * t + 2; ++n) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
              const int key = 8 * n + 2 * c + (e & 1);
              if (ragged && key >= left) {
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
          // A bias of minus infinity for all of these keys must not make NaN of the sums so far.
          const bool nothing = kMode == kDropoutAndBias && largest[r] == -INFINITY;
          shift[r] = nothing ? 0.0f : -largest[r] * unit;
        }
        if (stage > 0) {
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
          if (t >= tiles) continue;
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
      if (stage + 2 < stages) {
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
                out + int64_t{item.begin + ownFirst} * hidden + item.head * kSize, hidden,
                item.length - ownFirst);
  });
}

template <int kSize, Mode kMode>
int forward(const GradcacheSequences& s, AttentionWork work, const void* qkv, void* out, float* normalizer) {
  return forEachLengthClass(s, [&](int above, int upTo, int warps) {
    work.above = above;
    work.upTo = upTo;
    const int keys = upTo <= 32 ? 32 : upTo <= 64 ? 64 : 128;
    const int bytes = (16 * warps + 2 * keys) * HeadRows<kSize>::kBytes;
    auto* kernel = upTo <= 32 ? attentionForward<kSize, kMode, 2> : attentionForward<kSize, kMode, 4>;
    return launchAttention(kernel, work, warps, bytes, s.stream, static_cast<const bfloat16*>(qkv),
                           static_cast<bfloat16*>(out), normalizer);
  });
}

template <int kSize>
int forward(const GradcacheSequences& s, const AttentionWork& work, const void* qkv, void* out,
            float* normalizer) {
  switch (attentionMode(work)) {
    case kPlain:
      return forward<kSize, kPlain>(s, work, qkv, out, normalizer);
    case kDropout:
      return forward<kSize, kDropout>(s, work, qkv, out, normalizer);
    default:
      return forward<kSize, kDropoutAndBias>(s, work, qkv, out, normalizer);
  }
}

}  // namespace

}  // namespace gradcache::kernels::cuda

// Any length works; beyond this nobody has looked.
extern "C" int gradcache_attention_longest(int32_t size) { return size == 32 || size == 64 ? 8192 : 0; }

extern "C" int gradcache_attention_forward(const GradcacheSequences* s, const void* qkv,
                                           const void* distanceBias, float scale, gradcache::DropoutKey key,
                                           void* out, float* normalizer) {
  using namespace gradcache::kernels::cuda;
  if (s->longest > gradcache_attention_longest(s->size)) return cudaErrorInvalidValue;
  if (s->sequences == 0 || s->tokens == 0) return cudaSuccess;
  const AttentionWork work = attentionWork(*s, distanceBias, scale, key);
  return s->size == 64 ? forward<64>(*s, work, qkv, out, normalizer)
                       : forward<32>(*s, work, qkv, out, normalizer);
}
