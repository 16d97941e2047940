#include "kernels/kernels.h"

#include "kernels/composite/composite.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cuda_bridge/cuda.h"

namespace gradcache::kernels {

namespace {
bool hasCpuVersion(const at::Tensor& tensor) {
  return tensor.is_cpu() && (tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kDouble);
}
}  // namespace

at::Tensor dropout(const at::Tensor& x, const DropoutKey& key) {
  if (!key.active()) return x;
  if (hasCpuVersion(x)) return cpu::dropout(x, key);
  return dropout(x, at::arange(x.size(0), x.options().dtype(at::kLong)), key);
}

at::Tensor dropout(const at::Tensor& x, const at::Tensor& numbers, const DropoutKey& key) {
  return cuda::takesDropout(x) ? cuda::dropout(x, numbers, key) : composite::dropout(x, numbers, key);
}

Norm norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual, const NormWeights& weights,
          const DropoutKey& key, bool save) {
  if (cuda::takesNorms(x)) return cuda::norm(x, bias, residual, weights, key, save);
  return hasCpuVersion(x) ? cpu::norm(x, bias, residual, weights, key, save)
                          : composite::norm(x, bias, residual, weights, key, save);
}

NormGradients normBackward(const at::Tensor& dy, const Norm& saved, const NormWeights& weights,
                           const DropoutKey& key, const at::Tensor& scaleGradient,
                           const at::Tensor& shiftGradient, const at::Tensor& biasGradient) {
  if (cuda::takesNorms(dy))
    return cuda::normBackward(dy, saved, weights, key, scaleGradient, shiftGradient, biasGradient);
  return hasCpuVersion(dy)
             ? cpu::normBackward(dy, saved, weights, key, scaleGradient, shiftGradient, biasGradient)
             : composite::normBackward(dy, saved, weights, key, scaleGradient, shiftGradient, biasGradient);
}

at::Tensor activation(const at::Tensor& x, const at::Tensor& bias, Activation kind) {
  if (cuda::takesRows(x)) return cuda::activation(x, bias, kind);
  return hasCpuVersion(x) ? cpu::activation(x, bias, kind) : composite::activation(x, bias, kind);
}

ActivationGradients activationBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                                       Activation kind, const at::Tensor& biasGradient) {
  if (cuda::takesRows(dy)) return cuda::activationBackward(dy, x, bias, kind, biasGradient);
  return hasCpuVersion(dy) ? cpu::activationBackward(dy, x, bias, kind, biasGradient)
                           : composite::activationBackward(dy, x, bias, kind, biasGradient);
}

Attention attention(const at::Tensor& qkv, const Sequences& sequences, int64_t heads,
                    const at::Tensor& distanceBias, const DropoutKey& key) {
  if (cuda::takesAttention(qkv, heads, distanceBias))
    return cuda::attention(qkv, sequences, heads, distanceBias, key);
  return hasCpuVersion(qkv) ? cpu::attention(qkv, sequences, heads, distanceBias, key)
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
  return hasCpuVersion(qkv) ? cpu::attentionBackward(dout, qkv, saved, sequences, heads, distanceBias, key,
                                                     distanceBiasGradient)
                            : composite::attentionBackward(dout, qkv, sequences, heads, distanceBias, key,
                                                           distanceBiasGradient);
}

Pooled pool(const at::Tensor& x, const Sequences& sequences, Pooling pooling, bool normalize) {
  if (cuda::takesPooling(x, x.scalar_type())) return cuda::pool(x, sequences, pooling, normalize);
  return hasCpuVersion(x) ? cpu::pool(x, sequences, pooling, normalize)
                          : composite::pool(x, sequences, pooling, normalize);
}

at::Tensor poolBackward(const at::Tensor& dy, const Pooled& saved, const Sequences& sequences,
                        Pooling pooling, at::ScalarType type) {
  if (cuda::takesPooling(dy, type)) return cuda::poolBackward(dy, saved, sequences, pooling, type);
  return hasCpuVersion(dy) && dy.scalar_type() == type
             ? cpu::poolBackward(dy, saved, sequences, pooling)
             : composite::poolBackward(dy, saved, sequences, pooling, type);
}

Norm embed(const Embedding& embedding, const NormWeights& weights, const DropoutKey& key, bool save) {
  return cuda::takesNorms(embedding.words) ? cuda::embed(embedding, weights, key, save)
                                           : composite::embed(embedding, weights, key, save);
}

at::Tensor embedBackward(const at::Tensor& dy, const Norm& saved, const NormWeights& weights,
                         const DropoutKey& key, const at::Tensor& scaleGradient,
                         const at::Tensor& shiftGradient, const at::Tensor& typeGradient) {
  return cuda::takesNorms(dy)
             ? cuda::embedBackward(dy, saved, weights, key, scaleGradient, shiftGradient, typeGradient)
             : composite::embedBackward(dy, saved, weights, key, scaleGradient, shiftGradient, typeGradient);
}

void addColumnSum(const at::Tensor& gradient, const at::Tensor& rows) {
  if (cuda::takesRows(rows) && gradient.scalar_type() == at::kFloat) {
    cuda::addColumnSum(gradient, rows);
  } else {
    composite::addColumnSum(gradient, rows);
  }
}

void addRows(const at::Tensor& table, const at::Tensor& indices, const at::Tensor& rows) {
  if (cuda::takesRows(rows) && table.scalar_type() == at::kFloat) {
    cuda::addRows(table, indices, rows);
  } else if (hasCpuVersion(table)) {
    cpu::addRows(table, indices, rows.to(table.scalar_type()));
  } else {
    composite::addRows(table, indices, rows);
  }
}

}  // namespace gradcache::kernels
