#include "kernels/kernels.h"

#include "kernels/composite/composite.h"
#include "kernels/cpu/cpu.h"

namespace gradcache::kernels {

namespace {
bool hasCpuVersion(const at::Tensor& tensor) {
  return tensor.is_cpu() && (tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kDouble);
}
}  // namespace

at::Tensor dropout(const at::Tensor& x, const DropoutKey& key) {
  if (!key.active()) return x;
  return hasCpuVersion(x) ? cpu::dropout(x, key) : composite::dropout(x, key);
}

Norm norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual, const NormWeights& weights,
          const DropoutKey& key, bool save) {
  return hasCpuVersion(x) ? cpu::norm(x, bias, residual, weights, key, save)
                          : composite::norm(x, bias, residual, weights, key, save);
}

NormGradients normBackward(const at::Tensor& dy, const Norm& saved, const NormWeights& weights, const DropoutKey& key,
                           const at::Tensor& scaleGradient, const at::Tensor& shiftGradient, const at::Tensor& biasGradient) {
  return hasCpuVersion(dy) ? cpu::normBackward(dy, saved, weights, key, scaleGradient, shiftGradient, biasGradient)
                           : composite::normBackward(dy, saved, weights, key, scaleGradient, shiftGradient, biasGradient);
}

at::Tensor activation(const at::Tensor& x, const at::Tensor& bias, Activation kind) {
  return hasCpuVersion(x) ? cpu::activation(x, bias, kind) : composite::activation(x, bias, kind);
}

ActivationGradients activationBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias, Activation kind,
                                       const at::Tensor& biasGradient) {
  return hasCpuVersion(dy) ? cpu::activationBackward(dy, x, bias, kind, biasGradient)
                           : composite::activationBackward(dy, x, bias, kind, biasGradient);
}

Attention attention(const at::Tensor& qkv, const Sequences& sequences, int64_t heads, const at::Tensor& distanceBias,
                    const DropoutKey& key) {
  return hasCpuVersion(qkv) ? cpu::attention(qkv, sequences, heads, distanceBias, key)
                            : composite::attention(qkv, sequences, heads, distanceBias, key);
}

at::Tensor attentionBackward(const at::Tensor& dout, const at::Tensor& qkv, const Attention& saved, const Sequences& sequences,
                             int64_t heads, const at::Tensor& distanceBias, const DropoutKey& key,
                             const at::Tensor& distanceBiasGradient) {
  return hasCpuVersion(qkv)
             ? cpu::attentionBackward(dout, qkv, saved, sequences, heads, distanceBias, key, distanceBiasGradient)
             : composite::attentionBackward(dout, qkv, saved, sequences, heads, distanceBias, key, distanceBiasGradient);
}

void addRows(const at::Tensor& table, const at::Tensor& indices, const at::Tensor& rows) {
  if (hasCpuVersion(rows) && table.scalar_type() == rows.scalar_type()) {
    cpu::addRows(table, indices, rows);
  } else {
    composite::addRows(table, indices, rows);
  }
}

}  // namespace gradcache::kernels
