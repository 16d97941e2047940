// Attention over packed sequences, backward; the probabilities are computed again from the normalizer.
//
// attentionBackwardKeys: a warp owns 16 keys and walks over the queries with transposed scores (rows: keys),
// so that the gradients of its keys and values gather in registers and p and ds are already the left factors
// of their products. Where a block holds the whole sequence, ds is also left in shared memory, and after one
// barrier each warp makes the gradient of its 16 queries from it. Longer sequences take a second kernel for
// that, attentionBackwardQueries, which computes the scores once more with queries as rows: no sum crosses
// blocks, so every bit is the same in every run.
#include "kernels/cuda/attention.cuh"

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

// Waits for the copies of `dout`, then finds the terms of the block's query rows, of which `present` exist;
// the others get terms that make every probability zero. `hashes` may be null.
template <int kSize>
__device__ __forceinline__ void rowTerms(const AttentionWork& work, const Inputs& in,
                                         const AttentionItem& item, int first, uint32_t dout, RowTerms* terms,
                                         uint32_t* hashes) {
  using Rows = HeadRows<kSize>;
  const int64_t hidden = int64_t{work.heads} * kSize;
  const int present = item.length - first, piece = threadIdx.x % Rows::kPieces;
  constexpr int kTurns = kSize / 16;  // a warp's 16 rows in 16-byte pieces
  uint4 out[kTurns];
  float normalizer[kTurns];
#pragma unroll
  for (int i = 0; i < kTurns; ++i) {
    const int row = (threadIdx.x + i * blockDim.x) / Rows::kPieces;
    out[i] = {0, 0, 0, 0};
    normalizer[i] = INFINITY;
    if (row < present) {
      const int64_t token = item.begin + first + row;
      out[i] = __ldg(reinterpret_cast<const uint4*>(in.out + token * hidden + item.head * kSize + piece * 8));
      normalizer[i] = __ldg(in.normalizer + item.head * work.tokens + token);
    }
  }
  waitForCopies<0>();
#pragma unroll
  for (int i = 0; i < kTurns; ++i) {
    const int row = (threadIdx.x + i * blockDim.x) / Rows::kPieces;
    float common = 0.0f;
    if (row < present) {
      const uint4 gradient = loadShared16(dout + Rows::place(row, piece));  // this thread's own copy
      const uint32_t a[4] = {gradient.x, gradient.y, gradient.z, gradient.w};
      const uint32_t b[4] = {out[i].x, out[i].y, out[i].z, out[i].w};
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float2 left = unpack(a[e]), right = unpack(b[e]);
        common = fmaf(left.x, right.x, common);
        common = fmaf(left.y, right.y, common);
      }
    }
#pragma unroll
    for (int step = 1; step < Rows::kPieces; step *= 2) common += __shfl_xor_sync(0xffffffffu, common, step);
    if (piece == 0) {
      terms[row] = {normalizer[i] * kLog2e, common};
      if (hashes)
        hashes[row] =
            dropoutRow(work.key, static_cast<uint32_t>(item.begin + first + row) * work.heads + item.head);
    }
  }
}

__device__ __forceinline__ float biasOf(const AttentionWork& work, const AttentionItem& item, int query,
                                        int key) {
  const int last = item.length - 1;  // rows and keys beyond the end have no bias of their own; any will do
  const int64_t distance = min(key, last) - min(query, last) + work.longest - 1;
  return __bfloat162float(work.distanceBias[item.head * (2 * int64_t{work.longest} - 1) + distance]);
}

// Bytes of a row of ds in shared memory: multiples of 128, so that pieces can be permuted as in HeadRows.
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
  RowTerms* terms =
      reinterpret_cast<RowTerms*>(memory + 4 * rows * Rows::kBytes + (kWhole ? rows * scoreBytes : 0));
  uint32_t* hashes = reinterpret_cast<uint32_t*>(terms + rows);
  const uint32_t rowsFirst = Rows::rowsFirst(lane), columnsFirst = Rows::columnsFirst(lane);
  const uint32_t ownValues = values + warp * kTileBytes;
  const int64_t hidden = int64_t{work.heads} * kSize, stride = 3 * hidden;
  const float scaleLog2 = work.scale * kLog2e, kept = kMode == kPlain ? 1.0f : work.key.scale;

  forEachItem(work, [&](const AttentionItem& item) {
    const int64_t begin = item.begin * stride + item.head * kSize;
    const bfloat16* source = in.qkv + begin;
    const int present = min(item.length - item.first, rows), ownFirst = item.first + warp * 16;
    const bool busy = ownFirst < item.length;
    __syncthreads();  // the previous item's rows are no longer read
    Rows::copy(keys, source + item.first * stride + hidden, stride, present);
    Rows::copy(values, source + item.first * stride + 2 * hidden, stride, present);
    float dk[kSize / 8][4] = {}, dv[kSize / 8][4] = {};
    uint32_t k[kSize / 16][4];

    for (int first = 0; first < item.length; first += rows) {
      if (!kWhole && first > 0) __syncthreads();
      const int here = min(item.length - first, rows);
      Rows::copy(queries, source + first * stride, stride, here);
      Rows::copy(douts, in.dout + (item.begin + first) * hidden + item.head * kSize, hidden, here);
      commitCopies();
      rowTerms<kSize>(work, in, item, first, douts, terms, kMode == kPlain ? nullptr : hashes);
      __syncthreads();
      if (!busy) continue;
      if (first == 0) {
#pragma unroll
        for (int step = 0; step < kSize / 16; ++step)
          loadMatrices(k[step], keys + warp * kTileBytes + (rowsFirst ^ step * 32));
      }
#pragma unroll 1
      for (int tile = 0; tile * 16 < here; ++tile) {
        const uint32_t q = queries + tile * kTileBytes, dout = douts + tile * kTileBytes;
        float s[2][4] = {}, dp[2][4] = {};
#pragma unroll
        for (int step = 0; step < kSize / 16; ++step) {
          uint32_t b[4], v[4];  // the values are read again: registers for both do not suffice
          loadMatrices(b, q + (columnsFirst ^ step * 32));
          multiplyAdd(s[0], k[step], b[0], b[1]);
          multiplyAdd(s[1], k[step], b[2], b[3]);
          loadMatrices(v, ownValues + (rowsFirst ^ step * 32));
          loadMatrices(b, dout + (columnsFirst ^ step * 32));
          multiplyAdd(dp[0], v, b[0], b[1]);
          multiplyAdd(dp[1], v, b[2], b[3]);
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
              const bool keep = kMode == kPlain || (e ? bits >> 16 : bits & 0xffffu) >= work.key.threshold;
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
    bfloat16* target = in.dqkv + begin + ownFirst * stride;
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
  const uint32_t keys = douts + rows * Rows::kBytes;  // two stages of keys, then values
  RowTerms* terms = reinterpret_cast<RowTerms*>(memory + 2 * rows * Rows::kBytes + 4 * kKeyBytes);
  const uint32_t rowsFirst = Rows::rowsFirst(lane), columnsFirst = Rows::columnsFirst(lane);
  const uint32_t own = queries + warp * kTileBytes;
  const int64_t hidden = int64_t{work.heads} * kSize, stride = 3 * hidden;
  const float scaleLog2 = work.scale * kLog2e, kept = kMode == kPlain ? 1.0f : work.key.scale;

  forEachItem(work, [&](const AttentionItem& item) {
    const int64_t begin = item.begin * stride + item.head * kSize;
    const bfloat16* source = in.qkv + begin;
    const int stages = (item.length + kKeys - 1) / kKeys;
    auto copyStage = [&](int stage) {
      const int first = stage * kKeys, here = min(item.length - first, kKeys);
      const uint32_t target = keys + (stage & 1) * 2 * kKeyBytes;
      Rows::copy(target, source + first * stride + hidden, stride, here);
      Rows::copy(target + kKeyBytes, source + first * stride + 2 * hidden, stride, here);
      commitCopies();
    };
    const int present = min(item.length - item.first, rows), query = item.first + warp * 16 + g;
    const bool busy = item.first + warp * 16 < item.length;
    __syncthreads();  // the previous item's rows are no longer read
    Rows::copy(queries, source + item.first * stride, stride, present);
    Rows::copy(douts, in.dout + (item.begin + item.first) * hidden + item.head * kSize, hidden, present);
    copyStage(0);
    if (stages > 1) copyStage(1);
    rowTerms<kSize>(work, in, item, item.first, douts, terms, nullptr);
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
#pragma unroll
          for (int step = 0; step < kSize / 16; ++step) {
            loadMatrices(q[step], own + (rowsFirst ^ step * 32));
            loadMatrices(dout[step], douts + warp * kTileBytes + (rowsFirst ^ step * 32));
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
                const bool keep = kMode == kPlain || (e ? bits >> 16 : bits & 0xffffu) >= work.key.threshold;
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
    const int ownFirst = item.first + warp * 16;
    Rows::store(dq, work.scale, work.scale, own, in.dqkv + begin + ownFirst * stride, stride,
                item.length - ownFirst);
  });
}

template <int kSize, Mode kMode>
int backward(const GradcacheSequences& s, AttentionWork work, const Inputs& in) {
  return forEachLengthClass(s, [&](int above, int upTo, int warps) {
    work.above = above;
    work.upTo = upTo;
    const int rows = 16 * warps, terms = rows * static_cast<int>(sizeof(RowTerms) + sizeof(uint32_t));
    const int square = 4 * rows * HeadRows<kSize>::kBytes + terms;
    if (upTo <= rows)
      return launchAttention(attentionBackwardKeys<kSize, kMode, true>, work, warps,
                             square + rows * scoreRowBytes(warps), s.stream, in);
    if (int code =
            launchAttention(attentionBackwardKeys<kSize, kMode, false>, work, warps, square, s.stream, in))
      return code;
    const int bytes = (2 * rows + 4 * 64) * HeadRows<kSize>::kBytes + terms;
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
