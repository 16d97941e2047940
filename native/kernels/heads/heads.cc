#include "kernels/heads/heads.h"

#include "kernels/cpu/takes.h"
#include "kernels/heads/versions.h"

namespace gradcache::kernels {

HeadRows preparedHeads(const at::Tensor& qkv, const HeadLayout& layout, const HeadNorms& norms,
                       const Rotation& rotation) {
  if (!norms.any() && !rotation.any()) return HeadRows::in(qkv, layout.valueColumns());
  if (cuda::takesHeads(qkv, layout, rotation)) return cuda::preparedHeads(qkv, layout, norms, rotation);
  return cpu::takes(qkv) ? cpu::preparedHeads(qkv, layout, norms, rotation)
                         : composite::preparedHeads(qkv, layout, norms, rotation);
}

at::Tensor preparedHeadsBackward(const at::Tensor& dprepared, const at::Tensor& qkv, const HeadLayout& layout,
                                 const HeadNorms& norms, const Rotation& rotation,
                                 const at::Tensor& queryGradient, const at::Tensor& keyGradient) {
  if (!norms.any() && !rotation.any()) return dprepared;
  if (cuda::takesHeads(dprepared, layout, rotation))
    return cuda::preparedHeadsBackward(dprepared, qkv, layout, norms, rotation, queryGradient, keyGradient);
  return cpu::takes(dprepared)
             ? cpu::preparedHeadsBackward(dprepared, qkv, layout, norms, rotation, queryGradient, keyGradient)
             : composite::preparedHeadsBackward(dprepared, qkv, layout, norms, rotation, queryGradient,
                                                keyGradient);
}

}  // namespace gradcache::kernels
