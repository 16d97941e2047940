// The kernels of kernels.h, written for the CPU: float32 and float64, contiguous.
#pragma once

#include "kernels/kernels.h"

namespace gradcache::kernels::cpu {

at::Tensor dropout(const at::Tensor& x, const DropoutKey& key);
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
at::Tensor attentionBackward(const at::Tensor& dout, const at::Tensor& qkv, const Attention& saved,
                             const Sequences& sequences, int64_t heads, const at::Tensor& distanceBias,
                             const DropoutKey& key, const at::Tensor& distanceBiasGradient);
Pooled pool(const at::Tensor& x, const Sequences& sequences, Pooling pooling, bool normalize);
at::Tensor poolBackward(const at::Tensor& dy, const Pooled& saved, const Sequences& sequences,
                        Pooling pooling);
void addRows(const at::Tensor& table, const at::Tensor& indices, const at::Tensor& rows);

}  // namespace gradcache::kernels::cpu
