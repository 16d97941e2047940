#include "kernels/cuda/rows.h"
#include "kernels/embedding/versions.h"
#include "kernels/norm/versions.h"

namespace gradcache::kernels::cuda {

Norm embed(const Embedding& embedding, const NormWeights& weights, const DropoutKey& key, bool save) {
  Norm result = emptyNorm(embedding.ids.size(0), embedding.words.size(1), embedding.words.options(), save);
  const GradcacheRows rows = describe(result.y);
  check(library().embeddingForward(&rows, input(embedding.words), embedding.ids.const_data_ptr<int64_t>(),
                                   input(embedding.positions), embedding.places.const_data_ptr<int64_t>(),
                                   input(embedding.type), input(weights.scale), input(weights.shift),
                                   static_cast<float>(weights.epsilon), key, output(result.y),
                                   output(result.sum), floats(result.mean), floats(result.rstd)),
        "embedding");
  return result;
}

at::Tensor embedBackward(const at::Tensor& dy, const Norm& saved, const NormWeights& weights,
                         const DropoutKey& key, const at::Tensor& scaleGradient,
                         const at::Tensor& shiftGradient, const at::Tensor& typeGradient) {
  at::Tensor gradient = dy.contiguous();
  at::Tensor dsum = at::empty_like(gradient);
  const GradcacheRows rows = describe(gradient);
  at::Tensor work = scratch(library().normBackwardScratch(&rows), gradient);
  check(library().embeddingBackward(&rows, input(gradient), input(saved.sum), floats(saved.mean),
                                    floats(saved.rstd), input(weights.scale), input(weights.shift), key,
                                    output(dsum), floats(scaleGradient), floats(shiftGradient),
                                    floats(typeGradient), output(work)),
        "embedding backward");
  return dsum;
}

}  // namespace gradcache::kernels::cuda
