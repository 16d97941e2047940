#include <cmath>
#include <utility>

#include "kernels/dropout/dropout.h"
#include "kernels/softmax/versions.h"

namespace gradcache::kernels::composite {

namespace {

at::Tensor softmaxOfSeen(at::Tensor scores, const PairRows& rows) {
  if (rows.seen.defined())
    scores.masked_fill_(rows.seen.logical_not().view({-1, 1, 1, scores.size(3)}), -INFINITY);
  return at::softmax(scores, 3);
}

at::Tensor dropped(at::Tensor pairs, const PairRows& rows, const DropoutKey& key) {
  return key.active() ? kernels::dropoutOfRows(pairs, rows.numbers, key) : pairs;
}

}  // namespace

at::Tensor droppedSoftmax(at::Tensor scores, const PairRows& rows, const DropoutKey& key) {
  return dropped(softmaxOfSeen(std::move(scores), rows), rows, key);
}

SoftmaxGradients droppedSoftmaxBackward(at::Tensor dp, at::Tensor scores, const PairRows& rows,
                                        const DropoutKey& key) {
  const at::Tensor p = softmaxOfSeen(std::move(scores), rows);
  const at::ScalarType type = dp.scalar_type();
  at::Tensor dscores = at::_softmax_backward_data(dropped(std::move(dp), rows, key), p, 3, type);
  return {dropped(p, rows, key), std::move(dscores)};
}

}  // namespace gradcache::kernels::composite
