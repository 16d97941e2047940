#include "kernels/dropout/dropout.h"
#include "kernels/embedding/versions.h"
#include "kernels/rows/rows.h"

namespace gradcache::kernels::composite {

// Only the sum is composed here; norm and dropout use the device's kernels.
Norm embed(const Embedding& embedding, const NormWeights& weights, const DropoutKey& key, bool save) {
  at::Tensor sum = at::embedding(embedding.words, embedding.ids);
  sum.add_(at::embedding(embedding.positions, embedding.places));
  if (embedding.type.defined()) sum.add_(embedding.type);
  Norm result = kernels::norm(sum, {}, {}, weights, {}, save);
  result.y = kernels::dropout(result.y, key);
  return result;
}

at::Tensor embedBackward(const at::Tensor& dy, const Norm& saved, const NormWeights& weights,
                         const DropoutKey& key, const at::Tensor& scaleGradient,
                         const at::Tensor& shiftGradient, const at::Tensor& typeGradient) {
  at::Tensor dsum = kernels::normBackward(kernels::dropout(dy, key), {}, saved, weights, {}, scaleGradient,
                                          shiftGradient, {}, Output::kNone)
                        .sum;
  if (typeGradient.defined()) kernels::addColumnSum(typeGradient, dsum);
  return dsum;
}

}  // namespace gradcache::kernels::composite
