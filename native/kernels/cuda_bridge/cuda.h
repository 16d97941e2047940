// The kernels of kernels.h on CUDA: float32 and bfloat16, widths that are multiples of 8 (of any for
// dropout).
#pragma once

#include "kernels/kernels.h"

namespace gradcache::kernels::cuda {

// Whether a kernel of the library takes rows of this tensor's type and width; else the composite version
// runs.
bool takesRows(const at::Tensor& tensor);
bool takesNorms(const at::Tensor& tensor);
bool takesDropout(const at::Tensor& tensor);

at::Tensor dropout(const at::Tensor& x, const at::Tensor& numbers, const DropoutKey& key);
Norm norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual, const NormWeights& weights,
          const DropoutKey& key, bool save);
NormGradients normBackward(const at::Tensor& dy, const Norm& saved, const NormWeights& weights,
                           const DropoutKey& key, const at::Tensor& scaleGradient,
                           const at::Tensor& shiftGradient, const at::Tensor& biasGradient);
Norm embed(const Embedding& embedding, const NormWeights& weights, const DropoutKey& key, bool save);
at::Tensor embedBackward(const at::Tensor& dy, const Norm& saved, const NormWeights& weights,
                         const DropoutKey& key, const at::Tensor& scaleGradient,
                         const at::Tensor& shiftGradient, const at::Tensor& typeGradient);
at::Tensor activation(const at::Tensor& x, const at::Tensor& bias, Activation kind);
ActivationGradients activationBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                                       Activation kind, const at::Tensor& biasGradient);
void addRows(const at::Tensor& table, const at::Tensor& indices, const at::Tensor& rows);
void addColumnSum(const at::Tensor& gradient, const at::Tensor& rows);

// bfloat16: rows short enough for the library's own kernel go there, longer ones to flash attention, whose
// dropout is libtorch's, seeded from the key. Without a distance bias's gradient.
bool takesAttention(const at::Tensor& qkv, int64_t heads, const at::Tensor& distanceBias);
Attention attention(const at::Tensor& qkv, const Sequences& sequences, int64_t heads,
                    const at::Tensor& distanceBias, const DropoutKey& key);
at::Tensor attentionBackward(const at::Tensor& dout, const at::Tensor& qkv, const Attention& saved,
                             const Sequences& sequences, int64_t heads, const at::Tensor& distanceBias,
                             const DropoutKey& key);

// Rows [T, H] in `type`; `tensor` is such rows or what was pooled from them.
bool takesPooling(const at::Tensor& tensor, at::ScalarType type);
Pooled pool(const at::Tensor& x, const Sequences& sequences, Pooling pooling, bool normalize);
at::Tensor poolBackward(const at::Tensor& dy, const Pooled& saved, const Sequences& sequences,
                        Pooling pooling, at::ScalarType type);

}  // namespace gradcache::kernels::cuda
