#include "kernels/attention/attention.h"

#include <cmath>

#include "kernels/attention/versions.h"
#include "kernels/cpu/takes.h"

namespace gradcache::kernels {

namespace {
// The kernels for CUDA let every token be attended to.
bool cudaTakes(const HeadRows& rows, const Sequences& sequences, const AttentionForm& form,
               const at::Tensor& distanceBias) {
  return sequences.keyEnds == nullptr && cuda::takesAttention(rows, form, distanceBias);
}
}  // namespace

AttentionForm AttentionForm::plain(int64_t heads, int64_t size) {
  return {heads, heads, size, 1 / std::sqrt(static_cast<double>(size))};
}

Attention attention(const HeadRows& rows, const Sequences& sequences, const AttentionForm& form,
                    const at::Tensor& distanceBias, const DropoutKey& key, int64_t room) {
  if (cudaTakes(rows, sequences, form, distanceBias))
    return cuda::attention(rows, sequences, form, distanceBias, key, room);
  const at::Tensor qkv = rows.joined();
  return cpu::takes(qkv) ? cpu::attention(qkv, sequences, form, distanceBias, key)
                         : composite::attention(qkv, sequences, form, distanceBias, key);
}

at::Tensor attentionBackward(const at::Tensor& dout, const HeadRows& rows, const Attention& saved,
                             const Sequences& sequences, const AttentionForm& form,
                             const at::Tensor& distanceBias, const DropoutKey& key,
                             const at::Tensor& distanceBiasGradient, int64_t room) {
  if (cudaTakes(rows, sequences, form, distanceBias)) {
    if (distanceBiasGradient.defined())
      composite::addDistanceBiasGradient(distanceBiasGradient, dout, rows.joined(), sequences, form,
                                         distanceBias, key);
    return cuda::attentionBackward(dout, rows, saved, sequences, form, distanceBias, key, room);
  }
  const at::Tensor qkv = rows.joined();
  return cpu::takes(qkv) ? cpu::attentionBackward(dout, qkv, saved, sequences, form, distanceBias, key,
                                                  distanceBiasGradient)
                         : composite::attentionBackward(dout, qkv, sequences, form, distanceBias, key,
                                                        distanceBiasGradient);
}

}  // namespace gradcache::kernels
