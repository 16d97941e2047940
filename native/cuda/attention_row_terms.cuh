// What both kernels of attention backward share: their tensors, and what a row of scores needs.
#pragma once

#include "cuda/attention.cuh"

namespace gradcache::kernels::cuda {

struct BackwardTensors {
  const bfloat16 *dout, *queriesKeys, *values, *out;
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
__device__ __forceinline__ void rowTerms(const AttentionWork& work, const AttentionItem& item, int head,
                                         int first, const float (&normalizer)[2], uint32_t dout, uint32_t out,
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
      hashes[g + 8 * r] =
          dropoutRow(work.key, static_cast<uint32_t>(item.begin + first + g + 8 * r) * work.heads + head);
  }
}

// The normalizers of rows g and g + 8 from `first` on: read early, needed when the copies are there.
__device__ __forceinline__ void loadNormalizers(float (&normalizer)[2], const AttentionWork& work,
                                                const BackwardTensors& in, const AttentionItem& item,
                                                int head, int first) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first + (threadIdx.x & 31) / 4 + 8 * r;
    normalizer[r] =
        row < item.length ? __ldg(in.normalizer + head * work.tokens + item.begin + row) : INFINITY;
  }
}

__device__ __forceinline__ float biasOf(const AttentionWork& work, const AttentionItem& item, int head,
                                        int query, int key) {
  const int last = item.length - 1;  // rows and keys beyond the end have no bias of their own; any will do
  const int64_t distance = min(key, last) - min(query, last) + work.longest - 1;
  return __bfloat162float(work.distanceBias[head * (2 * int64_t{work.longest} - 1) + distance]);
}

}  // namespace gradcache::kernels::cuda
