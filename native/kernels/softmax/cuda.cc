#include "kernels/cuda/rows.h"
#include "kernels/softmax/versions.h"

namespace gradcache::kernels::cuda {

namespace {

constexpr int64_t kWidest = 1024;

// What the library's description of pairs refers to.
struct Described {
  at::Tensor seen, numbers;
  GradcachePairs pairs;
};

Described describe(const at::Tensor& scores, const PairRows& rows, const DropoutKey& key) {
  Described described{rows.seen.defined() ? rows.seen.contiguous() : at::Tensor(),
                      key.active() ? rows.numbers.contiguous() : at::Tensor(),
                      {}};
  const int64_t count = scores.size(0) * scores.size(1) * scores.size(2);
  described.pairs = {count,
                     scores.size(3),
                     static_cast<const unsigned char*>(input(described.seen)),
                     scores.size(1) * scores.size(2),
                     static_cast<const int64_t*>(input(described.numbers)),
                     currentStream(scores.device())};
  return described;
}

}  // namespace

bool takesSoftmax(const at::Tensor& scores) {
  return scores.is_cuda() && libraryIsOpen() && scores.scalar_type() == at::kFloat &&
         scores.size(3) <= kWidest && scores.is_contiguous();
}

at::Tensor droppedSoftmax(at::Tensor scores, const PairRows& rows, const DropoutKey& key) {
  const Described described = describe(scores, rows, key);
  check(library().softmaxForward(&described.pairs, floats(scores), key, floats(scores)), "softmax");
  return scores;
}

SoftmaxGradients droppedSoftmaxBackward(at::Tensor dp, at::Tensor scores, const PairRows& rows,
                                        const DropoutKey& key) {
  const at::Tensor gradient = dp.contiguous();
  const Described described = describe(scores, rows, key);
  check(library().softmaxBackward(&described.pairs, floats(scores), floats(gradient), key, floats(scores),
                                  floats(gradient)),
        "softmax backward");
  return {scores, gradient};
}

}  // namespace gradcache::kernels::cuda
