// Attention over packed sequences, backward; the probabilities are computed again from the normalizer.
//
// attentionBackwardKeys: a warp owns 16 keys and walks over the queries with transposed scores (rows: keys),
// so that the gradients of its keys and values gather in registers, over all heads of queries that the keys
// serve, and p and ds are already the left factors of their products. Where a block holds the whole sequence,
// ds is also left in shared memory, and after one barrier each warp makes the gradient of its 16 queries from
// it. Longer sequences take a second kernel for that, attentionBackwardQueries, which computes the scores
// once more with queries as rows: no sum crosses blocks, so every bit is the same in every run.
#include "cuda/attention_backward_keys.cuh"
#include "cuda/attention_backward_queries.cuh"

namespace gradcache::kernels::cuda {

namespace {

// How many tiles of 16 rows a block can have that holds whole sequences.
template <int kSize>
int wholeTiles() {
  using Shape = KeysShape<kSize>;
  if (kSize <= 64) return Shape::kWhole;
  int device = 0, most = 0, tiles = Shape::kWhole;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess)
    return 0;
  while (tiles > 0 && Shape::bytes(tiles, true) > most) --tiles;
  return tiles;
}

template <int kSize, Mode kMode, bool kGeneral>
int backward(const GradcacheSequences& s, AttentionWork work, const BackwardTensors& in) {
  using Keys = KeysShape<kSize>;
  const int whole = wholeTiles<kSize>();
  return forEachLengthClass(s, 16 * whole, [&](int above, int upTo, int tiles) {
    work.above = above;
    work.upTo = upTo;
    if (tiles <= whole)
      return launchAttention(attentionBackwardKeys<kSize, kMode, kGeneral, true>, work, work.keyHeads,
                             16 * tiles, Keys::kParts * tiles, Keys::bytes(tiles, true), s.stream, in);
    const int block = tilesOfBlock<kSize>(tiles, QueriesShape<kSize>::kTiles);
    if (int code = launchAttention(attentionBackwardKeys<kSize, kMode, kGeneral, false>, work, work.keyHeads,
                                   16 * block, Keys::kParts * block, Keys::bytes(block, false), s.stream, in))
      return code;
    return launchAttention(attentionBackwardQueries<kSize, kMode, kGeneral>, work, work.heads, 16 * block,
                           block, QueriesShape<kSize>::bytes(block), s.stream, in);
  });
}

template <int kSize>
int backward(const GradcacheSequences& s, const AttentionWork& work, const BackwardTensors& in) {
  switch (attentionMode(work)) {
    case kPlain:
      return backward<kSize, kPlain, false>(s, work, in);
    case kDropout:
      return backward<kSize, kDropout, false>(s, work, in);
    default:
      return backward<kSize, kDropoutAndBias, false>(s, work, in);
  }
}

}  // namespace

}  // namespace gradcache::kernels::cuda

extern "C" int gradcache_attention_backward(const GradcacheSequences* s, const void* dout,
                                            const GradcacheHeadRows* rows, const void* out, int64_t outStride,
                                            const float* normalizer, const void* distanceBias, float scale,
                                            gradcache::DropoutKey key, void* dqkv, int64_t dqkvStride) {
  using namespace gradcache::kernels::cuda;
  if (cudaError_t error = checkSequences(s, distanceBias, key)) return error;
  if (cudaError_t error = checkHeadRows(*s, rows, out, outStride)) return error;
  if (cudaError_t error =
          gradcache::cuda::checkStride(dqkvStride, int64_t{s->heads + 2 * s->keyHeads} * s->size))
    return error;
  if (s->sequences == 0 || s->tokens == 0) return cudaSuccess;
  AttentionWork work = attentionWork(*s, *rows, outStride, distanceBias, scale, key);
  work.gradientStride = static_cast<int>(dqkvStride);
  const BackwardTensors in{static_cast<const bfloat16*>(dout),
                           static_cast<const bfloat16*>(rows->queriesKeys),
                           static_cast<const bfloat16*>(rows->values),
                           static_cast<const bfloat16*>(out),
                           normalizer,
                           static_cast<bfloat16*>(dqkv)};
  switch (s->size) {
    case 32:
      return backward<32>(*s, work, in);
    case 64:
      return isGeneral(*s) ? backward<64, kPlain, true>(*s, work, in) : backward<64>(*s, work, in);
    case 128:
      return backward<128, kPlain, true>(*s, work, in);
    default:
      return backward<256, kPlain, true>(*s, work, in);
  }
}
