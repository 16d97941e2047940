#include "kernels/embedding/embedding.h"

#include "kernels/embedding/versions.h"
#include "kernels/norm/versions.h"

namespace gradcache::kernels {

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

}  // namespace gradcache::kernels
