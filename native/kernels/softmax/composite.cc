#include <cmath>

#include "kernels/dropout/dropout.h"
#include "kernels/softmax/versions.h"

namespace gradcache::kernels::composite {

namespace {

at::Tensor softmaxOfSeen(const at::Tensor& scores, const PairRows& rows) {
  if (rows.seen.defined())
    scores.masked_fill_(rows.seen.logical_not().view({-1, 1, 1, scores.size(3)}), -INFINITY);
  return at::softmax(scores, 3);
}

at::Tensor dropped(const at::Tensor& pairs, const PairRows& rows, const DropoutKey& key) {
  return key.active() ? kernels::dropoutOfRows(pairs, rows.numbers, key) : pairs;
}

}  // namespace

at::Tensor droppedSoftmax(const at::Tensor& scores, const PairRows& rows, const DropoutKey& key) {
  return dropped(softmaxOfSeen(scores, rows), rows, key);
}

SoftmaxGradients droppedSoftmaxBackward(const at::Tensor& dp, const at::Tensor& scores, const PairRows& rows,
                                        const DropoutKey& key) {
  const at::Tensor p = softmaxOfSeen(scores, rows);
  at::Tensor dscores = at::_softmax_backward_data(dropped(dp, rows, key), p, 3, dp.scalar_type());
  return {dropped(p, rows, key), std::move(dscores)};
}

}  // namespace gradcache::kernels::composite
