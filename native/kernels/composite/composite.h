// The kernels of kernels.h, composed of ATen operators: any device, any floating type.
#pragma once

#include "kernels/kernels.h"

namespace gradcache::kernels::composite {

at::Tensor dropout(const at::Tensor& x, const at::Tensor& numbers, const DropoutKey& key);
Norm norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual, const NormWeights& weights,
          const DropoutKey& key, bool save);
NormGradients normBackward(const at::Tensor& dy, const Norm& saved, const NormWeights& weights,
                           const DropoutKey& key, const at::Tensor& scaleGradient,
                           const at::Tensor& shiftGradient, const at::Tensor& biasGradient);
at::Tensor activation(const at::Tensor& x, const at::Tensor& bias, Activation kind);
ActivationGradients activationBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                                       Activation kind, const at::Tensor& biasGradient);
Attention attention(const at::Tensor& qkv, const Sequences& sequences, int64_t heads,
                    const at::Tensor& distanceBias, const DropoutKey& key);
// Of attention it needs nothing that was saved.
at::Tensor attentionBackward(const at::Tensor& dout, const at::Tensor& qkv, const Sequences& sequences,
                             int64_t heads, const at::Tensor& distanceBias, const DropoutKey& key,
                             const at::Tensor& distanceBiasGradient);
// The gradient of the distance bias alone.
void addDistanceBiasGradient(const at::Tensor& gradient, const at::Tensor& dout, const at::Tensor& qkv,
                             const Sequences& sequences, int64_t heads, const at::Tensor& distanceBias,
                             const DropoutKey& key);
Pooled pool(const at::Tensor& x, const Sequences& sequences, Pooling pooling, bool normalize);
at::Tensor poolBackward(const at::Tensor& dy, const Pooled& saved, const Sequences& sequences,
                        Pooling pooling, at::ScalarType type);
Norm embed(const Embedding& embedding, const NormWeights& weights, const DropoutKey& key, bool save);
at::Tensor embedBackward(const at::Tensor& dy, const Norm& saved, const NormWeights& weights,
                         const DropoutKey& key, const at::Tensor& scaleGradient,
                         const at::Tensor& shiftGradient, const at::Tensor& typeGradient);
void addColumnSum(const at::Tensor& gradient, const at::Tensor& rows);
void addRows(const at::Tensor& table, const at::Tensor& indices, const at::Tensor& rows);

}  // namespace gradcache::kernels::composite
