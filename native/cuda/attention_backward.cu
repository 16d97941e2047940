// Attention over packed sequences, backward; the probabilities are computed again from the normalizer.
//
// attentionBackwardKeys: a warp owns 16 keys and walks over the queries with transposed scores (rows: keys),
// so that the gradients of its keys and values gather in registers and p and ds are already the left factors
// of their products. Where a block holds the whole sequence, ds is also left in shared memory, and after one
// barrier each warp makes the gradient of its 16 queries from it. Longer sequences take a second kernel for
// that, attentionBackwardQueries, which computes the scores once more with queries as rows: no sum crosses
// blocks, so every bit is the same in every run.
#include "cuda/attention.cuh"

namespace gradcache::kernels::cuda {

namespace {

struct Inputs {
  const bfloat16 *dout, *qkv, *out;
  const float* normalizer;
  bfloat16* dqkv;
};

// What a row of scores needs: its normalizer, in units of log 2, and sum_j p_ij dL/dp_ij = dout_i . out_i.
struct RowTerms {
  float normalizer, common;
};

// The terms of a warp's 16 query rows from `first` on, whose `dout` and `out` lie in shared memory; rows
// beyond the sequence get terms that make every probability zero. The sums are the diagonal of dout outᵀ.
// `hashes` may be null.
template <int kSize>
__device__ __forceinline__ void rowTerms(const AttentionWork& work, const AttentionItem& item, int first,
                                         const float (&normalizer)[2], uint32_t dout, uint32_t out,
                                         RowTerms* terms, uint32_t* hashes) {
  using Rows = HeadRows<kSize>;
  const int lane = threadIdx.x & 31, g = lane >> 2, c = lane & 3;
  const uint32_t rowsFirst = Rows::rowsFirst(lane), columnsFirst = Rows::columnsFirst(lane);
  float d[2][4] = {};
#pragma unroll
  for (int step = 0; step < kSize / 16; ++step) {
    uint32_t a[4], b[4];
    loadMatrices(a, dout + (rowsFirst ^ step * 32));
    loadMatrices(b, out + (columnsFirst ^ step * 32));
    multiplyAdd(d[0], a, b[0], b[1]);
    multiplyAdd(d[1], a, b[2], b[3]);
  }
  if (c != g >> 1) return;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    terms[g + 8 * r] = {normalizer[r] * kLog2e, g & 1 ? d[r][2 * r + 1] : d[r][2 * r]};
    if (hashes)
      hashes[g + 8 * r] = dropoutRow(
          work.key, static_cast<uint32_t>(item.begin + first + g + 8 * r) * work.heads + item.head);
  }
}

// The normalizers of rows g and g + 8 from `first` on: read early, needed when the copies are there.
__device__ __forceinline__ void loadNormalizers(float (&normalizer)[2], const AttentionWork& work,
                                                const Inputs& in, const AttentionItem& item, int first) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first + (threadIdx.x & 31) / 4 + 8 * r;
    normalizer[r] =
        row < item.length ? __ldg(in.normalizer + item.head * work.tokens + item.begin + row) : INFINITY;
  }
}

__device__ __forceinline__ float biasOf(const AttentionWork& work, const AttentionItem& item, int query,
                                        int key) {
  const int last = item.length - 1;  // rows and keys beyond the end have no bias of their own; any will do
  const int64_t distance = min(key, last) - min(query, last) + work.longest - 1;
  return __bfloat162float(work.distanceBias[item.head * (2 * int64_t{work.longest} - 1) + distance]);
}

// Bytes of a row of ds in shared memory: multiples of 128, so that pieces can be permuted as in HeadRows.
// Before, the rows of `out` lie there.
__host__ __device__ __forceinline__ int scoreRowBytes(int warps) { return warps <= 4 ? 128 : 256; }
__device__ __forceinline__ uint32_t scorePlace(int rowBytes, int row, int piece) {
  return row * rowBytes + ((piece ^ (row & 7)) << 4);
}

template <int kSize, Mode kMode, bool kWhole>
__global__ __launch_bounds__(32 * kWarpsMost, 2) void attentionBackwardKeys(AttentionWork work, Inputs in) {
  using Rows = HeadRows<kSize>;
  constexpr int kTileBytes = 16 * Rows::kBytes;
  extern __shared__ __align__(128) unsigned char memory[];
  const int lane = threadIdx.x & 31, warp = threadIdx.x / 32, g = lane >> 2, c = lane & 3;
  const int rows = blockDim.x / 2, scoreBytes = scoreRowBytes(blockDim.x / 32);
  const uint32_t keys = sharedAddress(memory), values = keys + rows * Rows::kBytes;
  const uint32_t queries = values + rows * Rows::kBytes, douts = queries + rows * Rows::kBytes;
  const uint32_t scores = douts + rows * Rows::kBytes;
  const int outBytes = kWhole ? rows * scoreBytes : rows * Rows::kBytes;
  RowTerms* terms = reinterpret_cast<RowTerms*>(memory + 4 * rows * Rows::kBytes + outBytes);
  uint32_t* hashes = reinterpret_cast<uint32_t*>(terms + rows);
  const uint32_t rowsFirst = Rows::rowsFirst(lane), columnsFirst = Rows::columnsFirst(lane);
  const uint32_t ownKeys = keys + warp * kTileBytes, ownValues = values + warp * kTileBytes;
  const uint32_t ownQueries = queries + warp * kTileBytes, ownDouts = douts + warp * kTileBytes;
  const uint32_t ownOut = scores + warp * (kWhole ? 16 * scoreBytes : kTileBytes);
  const int hidden = work.heads * kSize, stride = 3 * hidden;
  const float scaleLog2 = work.scale * kLog2e, kept = kMode == kPlain ? 1.0f : work.key.scale;
  const uint32_t highThreshold = work.key.threshold << 16;

  forEachItem(work, [&](const AttentionItem& item) {
    const int64_t begin = int64_t{item.begin} * stride + item.head * kSize;
    const bfloat16* source = in.qkv + begin;
    const int ownFirst = item.first + warp * 16;
    const bool busy = ownFirst < item.length;
    __syncthreads();  // the previous item's rows are no longer read
    if (busy) {
      const bfloat16* own = source + int64_t{ownFirst} * stride + hidden;
      Rows::copy(ownKeys, own, stride, item.length - ownFirst);
      Rows::copy(ownValues, own + hidden, stride, item.length - ownFirst);
    }
    float dk[kSize / 8][4] = {}, dv[kSize / 8][4] = {};

    for (int first = 0; first < item.length; first += rows) {
      if (!kWhole && first > 0) __syncthreads();
      const int here = min(item.length - first, rows), ownRow = first + warp * 16;
      if (ownRow < item.length) {
        const int64_t row = int64_t{item.begin + ownRow} * hidden + item.head * kSize;
        float normalizer[2];
        Rows::copy(ownQueries, source + int64_t{ownRow} * stride, stride, item.length - ownRow);
        Rows::copy(ownDouts, in.dout + row, hidden, item.length - ownRow);
        Rows::copy(ownOut, in.out + row, hidden, item.length - ownRow);
        commitCopies();
        loadNormalizers(normalizer, work, in, item, ownRow);
        waitForCopies<0>();
        __syncwarp();
        rowTerms<kSize>(work, item, ownRow, normalizer, ownDouts, ownOut, terms + warp * 16,
                        kMode == kPlain ? nullptr : hashes + warp * 16);
      }
      __syncthreads();
      if (!busy) continue;
#pragma unroll 1
      for (int tile = 0; tile * 16 < here; ++tile) {
        const uint32_t q = queries + tile * kTileBytes, dout = douts + tile * kTileBytes;
        float s[2][4] = {}, dp[2][4] = {};
#pragma unroll
        for (int step = 0; step < kSize / 16; ++step) {
          // Keys and values are read again for every tile: registers to keep them do not suffice.
          uint32_t a[4], b[4];
          loadMatrices(a, ownKeys + (rowsFirst ^ step * 32));
          loadMatrices(b, q + (columnsFirst ^ step * 32));
          multiplyAdd(s[0], a, b[0], b[1]);
          multiplyAdd(s[1], a, b[2], b[3]);
          loadMatrices(a, ownValues + (rowsFirst ^ step * 32));
          loadMatrices(b, dout + (columnsFirst ^ step * 32));
          multiplyAdd(dp[0], a, b[0], b[1]);
          multiplyAdd(dp[1], a, b[2], b[3]);
        }
        uint32_t p[4], ds[4];
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          const int place = tile * 16 + n * 8 + 2 * c;  // of two neighbouring queries, columns of s
          const float4 both = *reinterpret_cast<const float4*>(terms + place);
          const float rowNormalizer[2] = {both.x, both.z}, rowCommon[2] = {both.y, both.w};
          // The pair of keys that shares a hash lies in lanes g and g ^ 1: each makes the hash of one of the
          // queries.
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
              if (kMode == kDropoutAndBias) x = fmaf(biasOf(work, item, first + place + e, key), kLog2e, x);
              float full = powerOfTwo(x - rowNormalizer[e]);
              if (key >= item.length) full = 0.0f;
              const bool keep = kMode == kPlain || (e ? bits : bits << 16) >= highThreshold;
              probability[e] = keep ? full : 0.0f;
              gradient[e] = full * fmaf(dp[n][2 * r + e], keep ? kept : 0.0f, -rowCommon[e]);
            }
            p[2 * n + r] = pack(probability[0], probability[1]);
            ds[2 * n + r] = pack(gradient[0], gradient[1]);
            if (kWhole)
              storeShared(scores + scorePlace(scoreBytes, warp * 16 + g + 8 * r, 2 * tile + n) + c * 4,
                          ds[2 * n + r]);
          }
        }
#pragma unroll
        for (int j = 0; j < kSize / 16; ++j) {
          uint32_t b[4];
          loadMatricesTransposed(b, dout + (rowsFirst ^ j * 32));
          multiplyAdd(dv[2 * j], p, b[0], b[1]);
          multiplyAdd(dv[2 * j + 1], p, b[2], b[3]);
          loadMatricesTransposed(b, q + (rowsFirst ^ j * 32));
          multiplyAdd(dk[2 * j], ds, b[0], b[1]);
          multiplyAdd(dk[2 * j + 1], ds, b[2], b[3]);
        }
      }
    }
    bfloat16* target = in.dqkv + begin + int64_t{ownFirst} * stride;
    if (busy) {
      Rows::store(dv, kept, kept, ownValues, target + 2 * hidden, stride, item.length - ownFirst);
      Rows::store(dk, work.scale, work.scale, ownValues, target + hidden, stride, item.length - ownFirst);
    }
    if (!kWhole) return;
    __syncthreads();
    if (!busy) return;
    float dq[kSize / 8][4] = {};
#pragma unroll 1
    for (int tile = 0; tile * 16 < item.length; ++tile) {
      uint32_t a[4];
      loadMatricesTransposed(a, scores + scorePlace(scoreBytes, tile * 16 + (lane & 7) + ((lane >> 4) << 3),
                                                    2 * warp + ((lane >> 3) & 1)));
#pragma unroll
      for (int j = 0; j < kSize / 16; ++j) {
        uint32_t b[4];
        loadMatricesTransposed(b, keys + tile * kTileBytes + (rowsFirst ^ j * 32));
        multiplyAdd(dq[2 * j], a, b[0], b[1]);
        multiplyAdd(dq[2 * j + 1], a, b[2], b[3]);
      }
    }
    Rows::store(dq, work.scale, work.scale, ownValues, target, stride, item.length - ownFirst);
  });
}

template <int kSize, Mode kMode>
__global__ __launch_bounds__(32 * kWarpsMost, 2) void attentionBackwardQueries(AttentionWork work,
                                                                               Inputs in) {
  using Rows = HeadRows<kSize>;
  constexpr int kTileBytes = 16 * Rows::kBytes, kKeys = 64, kKeyBytes = kKeys * Rows::kBytes;
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
  const int hidden = work.heads * kSize, stride = 3 * hidden;
  const float scaleLog2 = work.scale * kLog2e, kept = kMode == kPlain ? 1.0f : work.key.scale;
  const uint32_t highThreshold = work.key.threshold << 16;

  forEachItem(work, [&](const AttentionItem& item) {
    const int64_t begin = int64_t{item.begin} * stride + item.head * kSize;
    const bfloat16* source = in.qkv + begin;
    const int stages = (item.length + kKeys - 1) / kKeys;
    // Tiles of 16 keys go to the warps in turn.
    auto copyStage = [&](int stage) {
      const uint32_t target = keys + (stage & 1) * 2 * kKeyBytes;
      for (int tile = warp; tile < kKeys / 16; tile += blockDim.x / 32) {
        const int first = stage * kKeys + tile * 16;
        if (first >= item.length) break;
        const bfloat16* rows = source + int64_t{first} * stride + hidden;
        Rows::copy(target + tile * kTileBytes, rows, stride, item.length - first);
        Rows::copy(target + tile * kTileBytes + kKeyBytes, rows + hidden, stride, item.length - first);
      }
      commitCopies();
    };
    const int ownFirst = item.first + warp * 16, query = ownFirst + g;
    const bool busy = ownFirst < item.length;
    float normalizer[2];
    __syncthreads();  // the previous item's rows are no longer read
    if (busy) {
      const int64_t row = int64_t{item.begin + ownFirst} * hidden + item.head * kSize;
      Rows::copy(own, source + int64_t{ownFirst} * stride, stride, item.length - ownFirst);
      Rows::copy(ownDouts, in.dout + row, hidden, item.length - ownFirst);
      Rows::copy(ownOut, in.out + row, hidden, item.length - ownFirst);
    }
    copyStage(0);
    if (stages > 1) copyStage(1);
    if (busy) loadNormalizers(normalizer, work, in, item, ownFirst);
    float dq[kSize / 8][4] = {};
    uint32_t q[kSize / 16][4], dout[kSize / 16][4], hash[2] = {};
    if (kMode != kPlain) {
      const uint32_t token = item.begin + query;
      hash[0] = dropoutRow(work.key, token * work.heads + item.head) + c * kDropoutColumnStep;
      hash[1] = dropoutRow(work.key, (token + 8) * work.heads + item.head) + c * kDropoutColumnStep;
    }
    RowTerms ownTerms[2];

    for (int stage = 0; stage < stages; ++stage) {
      if (stage + 1 < stages) {
        waitForCopies<1>();
      } else {
        waitForCopies<0>();
      }
      __syncthreads();
      if (busy) {
        if (stage == 0) {
          rowTerms<kSize>(work, item, ownFirst, normalizer, ownDouts, ownOut, terms + warp * 16, nullptr);
          __syncwarp();
#pragma unroll
          for (int step = 0; step < kSize / 16; ++step) {
            loadMatrices(q[step], own + (rowsFirst ^ step * 32));
            loadMatrices(dout[step], ownDouts + (rowsFirst ^ step * 32));
          }
          ownTerms[0] = terms[warp * 16 + g];
          ownTerms[1] = terms[warp * 16 + g + 8];
        }
#pragma unroll 1
        for (int tile = 0; tile < kKeys / 16 && stage * kKeys + tile * 16 < item.length; ++tile) {
          const uint32_t k = keys + (stage & 1) * 2 * kKeyBytes + tile * kTileBytes, v = k + kKeyBytes;
          const int firstKey = stage * kKeys + tile * 16;
          float s[2][4] = {}, dp[2][4] = {};
#pragma unroll
          for (int step = 0; step < kSize / 16; ++step) {
            uint32_t b[4];
            loadMatrices(b, k + (columnsFirst ^ step * 32));
            multiplyAdd(s[0], q[step], b[0], b[1]);
            multiplyAdd(s[1], q[step], b[2], b[3]);
            loadMatrices(b, v + (columnsFirst ^ step * 32));
            multiplyAdd(dp[0], dout[step], b[0], b[1]);
            multiplyAdd(dp[1], dout[step], b[2], b[3]);
          }
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
                if (kMode == kDropoutAndBias) x = fmaf(biasOf(work, item, query + 8 * r, key + e), kLog2e, x);
                float full = powerOfTwo(x - ownTerms[r].normalizer);
                if (key + e >= item.length) full = 0.0f;
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
      if (stage + 2 < stages) {
        __syncthreads();
        copyStage(stage + 2);
      }
    }
    if (!busy) return;
    Rows::store(dq, work.scale, work.scale, own, in.dqkv + begin + int64_t{ownFirst} * stride, stride,
                item.length - ownFirst);
  });
}

template <int kSize, Mode kMode>
int backward(const GradcacheSequences& s, AttentionWork work, const Inputs& in) {
  return forEachLengthClass(s, [&](int above, int upTo, int warps) {
    work.above = above;
    work.upTo = upTo;
    const int rows = 16 * warps, terms = rows * static_cast<int>(sizeof(RowTerms) + sizeof(uint32_t));
    const int rowBytes = rows * HeadRows<kSize>::kBytes;
    if (upTo <= rows)
      return launchAttention(attentionBackwardKeys<kSize, kMode, true>, work, warps,
                             4 * rowBytes + rows * scoreRowBytes(warps) + terms, s.stream, in);
    if (int code = launchAttention(attentionBackwardKeys<kSize, kMode, false>, work, warps,
                                   5 * rowBytes + terms, s.stream, in))
      return code;
    const int bytes = 3 * rowBytes + 4 * 64 * HeadRows<kSize>::kBytes + terms;
    return launchAttention(attentionBackwardQueries<kSize, kMode>, work, warps, bytes, s.stream, in);
  });
}

template <int kSize>
int backward(const GradcacheSequences& s, const AttentionWork& work, const Inputs& in) {
  switch (attentionMode(work)) {
    case kPlain:
      return backward<kSize, kPlain>(s, work, in);
    case kDropout:
      return backward<kSize, kDropout>(s, work, in);
    default:
      return backward<kSize, kDropoutAndBias>(s, work, in);
  }
}

}  // namespace

}  // namespace gradcache::kernels::cuda

extern "C" int gradcache_attention_backward(const GradcacheSequences* s, const void* dout, const void* qkv,
                                            const void* out, const float* normalizer,
                                            const void* distanceBias, float scale, gradcache::DropoutKey key,
                                            void* dqkv) {
  using namespace gradcache::kernels::cuda;
  if (s->longest > gradcache_attention_longest(s->size)) return cudaErrorInvalidValue;
  if (s->sequences == 0 || s->tokens == 0) return cudaSuccess;
  const AttentionWork work = attentionWork(*s, distanceBias, scale, key);
  const Inputs in{static_cast<const bfloat16*>(dout), static_cast<const bfloat16*>(qkv),
                  static_cast<const bfloat16*>(out), normalizer, static_cast<bfloat16*>(dqkv)};
  return s->size == 64 ? backward<64>(*s, work, in) : backward<32>(*s, work, in);
}
