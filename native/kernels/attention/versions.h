// What attention.cc chooses from.
#pragma once

#include "kernels/attention/attention.h"

namespace gradcache::kernels {

namespace cpu {
decltype(kernels::attention) attention;
decltype(kernels::attentionBackward) attentionBackward;
}  // namespace cpu

// bfloat16. Queries that see few keys use the library's own kernel, if it has one for the form; all others
// flash attention, whose dropout is libtorch's, seeded from the key. There is no gradient of a distance bias.
namespace cuda {
bool takesAttention(const at::Tensor& qkv, const AttentionForm& form, const at::Tensor& distanceBias);
decltype(kernels::attention) attention;
at::Tensor attentionBackward(const at::Tensor& dout, const at::Tensor& qkv, const Attention& saved,
                             const Sequences& sequences, const AttentionForm& form,
                             const at::Tensor& distanceBias, const DropoutKey& key);
}  // namespace cuda

namespace composite {
decltype(kernels::attention) attention;
// Needs nothing saved by forward.
at::Tensor attentionBackward(const at::Tensor& dout, const at::Tensor& qkv, const Sequences& sequences,
                             const AttentionForm& form, const at::Tensor& distanceBias, const DropoutKey& key,
                             const at::Tensor& distanceBiasGradient);
// The gradient of the distance bias alone.
void addDistanceBiasGradient(const at::Tensor& gradient, const at::Tensor& dout, const at::Tensor& qkv,
                             const Sequences& sequences, const AttentionForm& form,
                             const at::Tensor& distanceBias, const DropoutKey& key);
}  // namespace composite

}  // namespace gradcache::kernels
