#include "kernels/cuda/rows.h"
#include "kernels/heads/versions.h"
#include "kernels/room.h"

namespace gradcache::kernels::cuda {

namespace {

GradcacheHeads describe(const at::Tensor& rows, const HeadLayout& layout, const HeadNorms& norms,
                        const Rotation& rotation) {
  return {typeOf(rows.scalar_type()),
          rows.size(0),
          static_cast<int32_t>(layout.queries),
          static_cast<int32_t>(layout.keys),
          static_cast<int32_t>(layout.size),
          floats(rotation.cosines),
          floats(rotation.sines),
          rotation.any() ? rotation.positions.const_data_ptr<int64_t>() : nullptr,
          input(norms.query),
          input(norms.key),
          static_cast<float>(norms.epsilon),
          static_cast<float>(norms.offset),
          currentStream(rows.device())};
}

}  // namespace

bool takesHeads(const at::Tensor& rows, const HeadLayout& layout, const Rotation& rotation) {
  const int64_t size = layout.size;
  const bool known = size == 32 || size == 64 || size == 128 || size == 256;
  // A head is turned as a whole.
  return takesRows(rows) && known && (!rotation.any() || rotation.cosines.size(1) == size / 2);
}

HeadRows preparedHeads(const at::Tensor& qkv, const HeadLayout& layout, const HeadNorms& norms,
                       const Rotation& rotation) {
  HeadRows result = HeadRows::in(qkv, layout.valueColumns());
  const at::Tensor before = result.queriesKeys;
  if (norms.any()) {
    if (qkv.scalar_type() == at::kBFloat16) {
      result.queriesKeys = at::empty(before.sizes(), qkv.options());
    } else {
      // Attention in float32 is composed of operators that take all in one tensor.
      const at::Tensor values = result.values;
      result = HeadRows::in(at::empty_like(qkv), layout.valueColumns());
      result.values.copy_(values);
    }
  }
  const GradcacheHeads heads = describe(qkv, layout, norms, rotation);
  check(library().headsForward(&heads, input(before), rowStride(before), output(result.queriesKeys),
                               rowStride(result.queriesKeys)),
        "heads");
  return result;
}

at::Tensor preparedHeadsBackward(const at::Tensor& dprepared, const at::Tensor& qkv, const HeadLayout& layout,
                                 const HeadNorms& norms, const Rotation& rotation,
                                 const at::Tensor& queryGradient, const at::Tensor& keyGradient) {
  const GradcacheHeads heads = describe(dprepared, layout, norms, rotation);
  at::Tensor work = scratch(library().headsBackwardScratch(&heads), dprepared);
  check(
      library().headsBackward(&heads, norms.any() ? input(qkv) : nullptr, qkv.size(1), output(dprepared),
                              rowStride(dprepared), floats(queryGradient), floats(keyGradient), output(work)),
      "heads backward");
  return dprepared;
}

}  // namespace gradcache::kernels::cuda
