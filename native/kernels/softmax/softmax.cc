#include "kernels/softmax/softmax.h"

#include <utility>

#include "kernels/softmax/versions.h"

namespace gradcache::kernels {

at::Tensor droppedSoftmax(at::Tensor scores, const PairRows& rows, const DropoutKey& key) {
  const auto version = cuda::takesSoftmax(scores) ? cuda::droppedSoftmax : composite::droppedSoftmax;
  return version(std::move(scores), rows, key);
}

SoftmaxGradients droppedSoftmaxBackward(at::Tensor dp, at::Tensor scores, const PairRows& rows,
                                        const DropoutKey& key) {
  const auto version =
      cuda::takesSoftmax(scores) ? cuda::droppedSoftmaxBackward : composite::droppedSoftmaxBackward;
  return version(std::move(dp), std::move(scores), rows, key);
}

}  // namespace gradcache::kernels
