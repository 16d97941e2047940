// A layer of QRNN (Bradbury et al. 2017): a convolution over one or two tokens, then a recurrent pooling.
//   [z; f; o] = W [x_t; x_{t-1}] + b;  c = sigmoid(f) c' + (1 - sigmoid(f)) tanh(z);  h = sigmoid(o) c
#pragma once

#include <optional>
#include <string>

#include "kernels/recurrence/recurrence.h"
#include "model/block.h"
#include "model/builder.h"
#include "model/dropped_linear.h"

namespace gradcache {

class QrnnLayer final : public Block {
 public:
  struct Options {
    int64_t in, width;
    int64_t window = 1;        // tokens that a gate sees: 1 or 2
    bool outputGate = true;    // else h = c
    double dropout = 0;        // of the output; all tokens of a sequence lose the same columns
    double weightDropout = 0;  // of the matrix
  };
  // Parameters `name`.gates.weight [2 or 3 * width, window * in] and .gates.bias.
  QrnnLayer(const std::string& name, const Options& options, Builder& builder);

  Stream forward(Stream x, const Pass& pass, Tape* tape) const override;
  at::Tensor backward(const at::Tensor& dy, Tape tape, const Pass& pass) const override;
  int64_t tapeBytes(const ChunkSize& chunk) const override;

 private:
  // x [T, in] with the token before beside each, [T, window * in].
  at::Tensor windows(const at::Tensor& x, const Pass& pass) const;
  at::Tensor windowsBackward(const at::Tensor& dwindows, const Pass& pass) const;
  kernels::RecurrenceInputs inputs(at::Tensor u, const Pass& pass) const;
  kernels::RecurrenceOptions kernelOptions(const Pass& pass) const;

  Options options_;
  DroppedLinear gates_;
  Dropout dropout_;
  Carry state_;
  std::optional<Carry> before_;  // the last token's input: the first window of the next segment has it
};

}  // namespace gradcache
