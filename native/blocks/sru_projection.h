// How a layer of SRU computes u, its projections, from its input: by one matrix, or as SRU++ does.
#pragma once

#include <string>

#include "model/block.h"
#include "model/builder.h"
#include "model/linear.h"

namespace gradcache {

class SruProjection {
 public:
  virtual ~SruProjection() = default;
  // u [T, columns] from x [T, in]. `tape` is null if no backward follows.
  virtual at::Tensor forward(const at::Tensor& x, const Pass& pass, Tape* tape) const = 0;
  // dL/dx, added to `dx` where that is defined. `x` is the forward's.
  virtual at::Tensor backward(const at::Tensor& du, const at::Tensor& x, at::Tensor dx, Tape tape,
                              const Pass& pass) const = 0;
  // Without u and x.
  virtual int64_t tapeBytes(const ChunkSize& chunk) const = 0;
};

// u = W x
class MatrixProjection final : public SruProjection {
 public:
  // Parameter `name`.projection.weight [columns, in].
  MatrixProjection(const std::string& name, int64_t in, int64_t columns, Builder& builder)
      : linear_(builder.parameters, {name + ".projection"}, in, columns, /*bias=*/false,
                Initial::xavier(in, columns)) {}

  at::Tensor forward(const at::Tensor& x, const Pass& pass, Tape*) const override {
    return linear_.product(x, pass);
  }
  at::Tensor backward(const at::Tensor& du, const at::Tensor& x, at::Tensor dx, Tape,
                      const Pass& pass) const override {
    linear_.addWeightGradient(du, x, pass);
    return linear_.addInputGradient(std::move(dx), du, pass);
  }
  int64_t tapeBytes(const ChunkSize&) const override { return 0; }

 private:
  Linear linear_;
};

}  // namespace gradcache
