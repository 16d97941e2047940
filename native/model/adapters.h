// Low-rank adapters (LoRA, Hu et al. 2021) of the layers whose matrices are one product:
//   y += scale * B A drop(x)
// The adapted layers read the same rows, so their A are one matrix, and B has each layer's own columns of y.
// A frozen matrix W can have them in its room, as [W, scale * B; A, 0]: then a product with the rows and what
// the adapters made of them, side by side, is that of all.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "model/pass.h"

namespace gradcache {

// A matrix of several that are stacked: its name without ".weight", and its rows.
struct LinearPart {
  std::string name;
  int64_t out;
};

// What the adapters of a product have computed for a chunk and need again. What is undefined is computed
// anew.
struct AdapterRows {
  at::Tensor reduced;   // A drop(x), [T, columns()]
  at::Tensor gradient;  // scale * B^T dy, [T, columns()]
};

class Adapters {
 public:
  // Which of a product's rows may have room for the adapters' columns behind them: kernels/room.h.
  struct Roomy {
    bool input = false;           // x
    bool outputGradient = false;  // dy
  };
  // Those of `parts` that the list has adapters for: parameters NAME.lora_A.weight [rank, in] and
  // NAME.lora_B.weight [out, rank]. The layers' outputs lie side by side, each of its own `out` columns.
  // `matrix` is that of the layers, [all columns, in].
  Adapters(ParameterList& list, const std::vector<LinearPart>& parts, int64_t in, ParameterId matrix,
           const Roomy& roomy);

  bool empty() const { return adapters_.empty(); }
  // Of what a chunk keeps for its backward: all ranks, and what fills them up.
  int64_t columns() const { return columns_; }
  // Columns of room that a product can use behind x.
  int64_t inputRoom() const { return room_.columns; }
  // And behind dy, in this pass.
  int64_t outputGradientRoom(const Pass& pass) const { return together(pass) ? room_.rows : 0; }
  // Whether it pays to multiply [x | reduced] with the matrix and its room.
  bool joins(const at::Tensor& x) const { return paysOff(x, room_.columns, out_, in_); }
  // And [dy | reducedGradient].
  bool joinsGradient(const at::Tensor& dy, const Pass& pass) const {
    return paysOff(dy, outputGradientRoom(pass), in_, out_);
  }

  // A drop(x) of all.
  at::Tensor reduced(const at::Tensor& x, const Pass& pass) const;
  // y += scale * B reduced, where y is [T, all columns].
  void addOutput(const at::Tensor& y, const at::Tensor& reduced, const Pass& pass) const;
  // scale * B^T dy of all.
  at::Tensor reducedGradient(const at::Tensor& dy, const Pass& pass) const;
  // dx += drop(A^T reducedGradient).
  void addInputGradient(const at::Tensor& dx, const at::Tensor& reducedGradient, const Pass& pass) const;
  void addWeightGradients(const at::Tensor& dy, const at::Tensor& x, const AdapterRows& rows,
                          const Pass& pass) const;

 private:
  struct Adapter {
    int64_t column, out;  // of y, where the layer's begin, and how many they are
    int64_t row, rank;    // of the joined A
    double scale;
    Dropout dropout;
    ParameterId b = 0;
  };
  bool together(const Pass& pass) const { return !(pass.dropout && dropsOut_); }
  // Of rows with `width` columns and a result with `out`.
  static bool paysOff(const at::Tensor& rows, int64_t room, int64_t out, int64_t width);
  at::Tensor emptyRows(const at::Tensor& like) const;
  static at::Tensor columnsOf(const Adapter& adapter, const at::Tensor& y) {
    return y.narrow(1, adapter.column, adapter.out);
  }
  static at::Tensor ranksOf(const Adapter& adapter, const at::Tensor& rows) {
    return rows.narrow(1, adapter.row, adapter.rank);
  }

  int64_t ranks_ = 0, columns_ = 0;
  bool dropsOut_ = false;
  std::vector<Adapter> adapters_;
  ParameterId a_ = 0;  // [all ranks, in]
  int64_t in_ = 0, out_ = 0;
  ParameterId matrix_ = 0;
  Room room_;  // of the matrix
};

}  // namespace gradcache
