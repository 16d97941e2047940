// A layer of LSTM (Hochreiter & Schmidhuber 1997) or GRU (Cho et al. 2014), by libtorch's own operators and
// their own graph.
#pragma once

#include <string>
#include <vector>

#include "model/block.h"
#include "model/builder.h"

namespace gradcache {

class GatedLayer final : public Block {
 public:
  enum class Kind { kLstm, kGru };
  struct Options {
    Kind kind;
    int64_t in, width;
    double dropout = 0;        // of the output; all tokens of a sequence lose the same columns
    double weightDropout = 0;  // of the matrix that the state is multiplied with
  };
  // Parameters `name`.weight_ih [gates * width, in], .weight_hh [gates * width, width], .bias_ih and
  // .bias_hh, with the gates in torch.nn's order.
  GatedLayer(const std::string& name, const Options& options, Builder& builder);

  Stream forward(Stream x, const Pass& pass, Tape* tape) const override;
  at::Tensor backward(const at::Tensor& dy, Tape tape, const Pass& pass) const override;
  int64_t tapeBytes(const ChunkSize& chunk) const override;

 private:
  int64_t gates() const { return options_.kind == Kind::kLstm ? 4 : 3; }
  // The parameters in the order that the operators take, with the state's matrix under its dropout.
  std::vector<at::Tensor> weights(const Pass& pass) const;
  // Rows [T, width] in the operators' order and the states after, [1, n, width] each, from rows [T, in].
  std::vector<at::Tensor> run(const std::vector<at::Tensor>& leaves, const Pass& pass) const;

  Options options_;
  std::vector<ParameterId> parameters_;
  Dropout dropout_, weightDropout_;
  std::vector<Carry> states_;  // the output, and an LSTM's cells
};

}  // namespace gradcache
