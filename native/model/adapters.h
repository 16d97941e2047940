// Low-rank adapters (LoRA, Hu et al. 2021) of the layers whose matrices are one product:
//   y += scale * B A drop(x)
// The adapted layers read the same rows, so their A are one matrix, and B has each layer's own columns of y.
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

class Adapters {
 public:
  // Those of `parts` that the list has adapters for: parameters NAME.lora_A.weight [rank, in] and
  // NAME.lora_B.weight [out, rank]. The layers' outputs lie side by side, each of its own `out` columns.
  Adapters(ParameterList& list, const std::vector<LinearPart>& parts, int64_t in);

  // y += scale * B A drop(x), where y is [T, all columns].
  void addOutput(const at::Tensor& y, const at::Tensor& x, const Pass& pass) const;
  // dx += the same of dy, backwards.
  void addInputGradient(const at::Tensor& dx, const at::Tensor& dy, const Pass& pass) const;
  void addWeightGradients(const at::Tensor& dy, const at::Tensor& x, const Pass& pass) const;

 private:
  struct Adapter {
    int64_t column, out;  // of y, where the layer's begin, and how many they are
    int64_t row, rank;    // of the joined A
    double scale;
    Dropout dropout;
    ParameterId b = 0;
  };
  // A drop(x) of one adapter, [T, rank].
  at::Tensor reduced(const Adapter& adapter, const at::Tensor& x, const Pass& pass) const;
  // scale * B^T dy of all, [T, all ranks].
  at::Tensor reducedGradient(const at::Tensor& dy, const Pass& pass) const;
  at::Tensor columnsOf(const Adapter& adapter, const at::Tensor& y) const {
    return y.narrow(1, adapter.column, adapter.out);
  }

  int64_t ranks_ = 0;
  bool dropsOut_ = false;
  std::vector<Adapter> adapters_;
  ParameterId a_ = 0;  // [all ranks, in]
};

}  // namespace gradcache
