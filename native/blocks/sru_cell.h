// The cell of SRU (Lei et al. 2018) with its weights: the recurrence over a layer's projections, which SRU
// and SRU++ compute in different ways.
#pragma once

#include <string>

#include "kernels/recurrence/recurrence.h"
#include "model/builder.h"

namespace gradcache {

class SruCell {
 public:
  struct Options {
    int64_t in;     // columns of the layer's input
    int64_t width;  // columns of its output, those of both directions together
    bool bidirectional = false;
    bool skip = true;        // adds the input to the output; by a projection of its own if widths differ
    bool rescale = false;    // scales the skip so that the output keeps the input's variance at first
    double highwayBias = 0;  // what the bias of the reset gate begins with
    double dropout = 0;      // of what the cell adds to the output
    bool dropoutPerToken = false;  // else all tokens of a sequence lose the same columns

    // Blocks of `width` columns that the cell needs.
    int64_t projections() const { return skip && in != width ? 4 : 3; }
  };
  // Parameters `name`.forget.weight, .reset.weight, .forget.bias and .reset.bias [width].
  SruCell(const std::string& name, const Options& options, Builder& builder);

  // `u` [T, projections * width] as kernels::recurrence takes it; `x` [T, in] is the layer's input. Reads and
  // writes the carried state.
  kernels::Recurrence forward(at::Tensor u, const at::Tensor& x, const Pass& pass, bool save) const;
  // dL/du, and dL/dx as far as the skip is concerned (undefined without one).
  kernels::RecurrenceGradients backward(const at::Tensor& dh, at::Tensor u, const at::Tensor& x,
                                        const kernels::Recurrence& saved, const Pass& pass) const;
  // Bytes of u, of what backward needs of the recurrence, and of its output.
  int64_t tapeBytes(const ChunkSize& chunk) const;

 private:
  kernels::RecurrenceInputs inputs(at::Tensor u, const at::Tensor& x, const Pass& pass) const;
  kernels::RecurrenceOptions kernelOptions(const Pass& pass) const;

  Options options_;
  ParameterId weights_, bias_;
  Dropout dropout_;
  Carry state_;
};

}  // namespace gradcache
