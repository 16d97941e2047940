#include "kernels/attention/attention.h"

#include "kernels/attention/versions.h"
#include "kernels/cpu/takes.h"

namespace gradcache::kernels {

Attention attention(const at::Tensor& qkv, const Sequences& sequences, int64_t heads,
                    const at::Tensor& distanceBias, const DropoutKey& key) {
  if (cuda::takesAttention(qkv, heads, distanceBias))
    return cuda::attention(qkv, sequences, heads, distanceBias, key);
  return cpu::takes(qkv) ? cpu::attention(qkv, sequences, heads, distanceBias, key)
                         : composite::attention(qkv, sequences, heads, distanceBias, key);
}

at::Tensor attentionBackward(const at::Tensor& dout, const at::Tensor& qkv, const Attention& saved,
                             const Sequences& sequences, int64_t heads, const at::Tensor& distanceBias,
                             const DropoutKey& key, const at::Tensor& distanceBiasGradient) {
  if (cuda::takesAttention(qkv, heads, distanceBias)) {
    if (distanceBiasGradient.defined()) {
      composite::addDistanceBiasGradient(distanceBiasGradient, dout, qkv, sequences, heads, distanceBias,
                                         key);
    }
    return cuda::attentionBackward(dout, qkv, saved, sequences, heads, distanceBias, key);
  }
  return cpu::takes(qkv) ? cpu::attentionBackward(dout, qkv, saved, sequences, heads, distanceBias, key,
                                                  distanceBiasGradient)
                         : composite::attentionBackward(dout, qkv, sequences, heads, distanceBias, key,
                                                        distanceBiasGradient);
}

}  // namespace gradcache::kernels
