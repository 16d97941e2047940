// What attention.cc chooses from.
#pragma once

#include "kernels/attention/attention.h"

namespace gradcache::kernels {

// qkv [T, form.columns()]: queries, keys and values in one tensor.
namespace cpu {
Attention attention(const at::Tensor& qkv, const Sequences& sequences, const AttentionForm& form,
                    const at::Tensor& distanceBias, const DropoutKey& key);
at::Tensor attentionBackward(const at::Tensor& dout, const at::Tensor& qkv, const Attention& saved,
                             const Sequences& sequences, const AttentionForm& form,
                             const at::Tensor& distanceBias, const DropoutKey& key,
                             const at::Tensor& distanceBiasGradient);
}  // namespace cpu

// bfloat16. Queries that see few keys use the library's own kernel, if it has one for the form; all others
// flash attention, whose dropout is libtorch's, seeded from the key. There is no gradient of a distance bias.
namespace cuda {
bool takesAttention(const HeadRows& rows, const AttentionForm& form, const at::Tensor& distanceBias);
decltype(kernels::attention) attention;
at::Tensor attentionBackward(const at::Tensor& dout, const HeadRows& rows, const Attention& saved,
                             const Sequences& sequences, const AttentionForm& form,
                             const at::Tensor& distanceBias, const DropoutKey& key, int64_t room);
}  // namespace cuda

namespace composite {
decltype(cpu::attention) attention;
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
