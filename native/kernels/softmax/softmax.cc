#include "kernels/softmax/softmax.h"

#include "kernels/softmax/versions.h"

namespace gradcache::kernels {

at::Tensor droppedSoftmax(const at::Tensor& scores, const PairRows& rows, const DropoutKey& key) {
  const auto version = cuda::takesSoftmax(scores) ? cuda::droppedSoftmax : composite::droppedSoftmax;
  return version(scores, rows, key);
}

SoftmaxGradients droppedSoftmaxBackward(const at::Tensor& dp, const at::Tensor& scores, const PairRows& rows,
                                        const DropoutKey& key) {
  const auto version =
      cuda::takesSoftmax(scores) ? cuda::droppedSoftmaxBackward : composite::droppedSoftmaxBackward;
  return version(dp, scores, rows, key);
}

}  // namespace gradcache::kernels
