// A weight matrix, its bias and its adapters. Blocks multiply only through it, so that any matrix of any
// architecture can be adapted.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string>
#include <vector>

#include "model/adapters.h"
#include "model/block.h"

namespace gradcache {

class Linear {
 public:
  using Part = LinearPart;
  // Parameters NAME.weight [out, in] and, with a bias, NAME.bias [out] of each part.
  Linear(ParameterList& list, const std::vector<Part>& parts, int64_t in, bool bias = true,
         const Initial& initial = {}, const Initial& biasInitial = {}, const Adapters::Roomy& roomy = {});
  // The same of parts that have `out` rows each.
  Linear(ParameterList& list, const std::vector<std::string>& names, int64_t in, int64_t out,
         bool bias = true, const Initial& initial = {}, const Initial& biasInitial = {});
  virtual ~Linear() = default;

  // x W^T without the bias, which the next norm or activation adds. In all products W is the matrix with its
  // adapters. `rows`, where a backward follows, takes what they compute, so that it is computed once.
  at::Tensor product(const at::Tensor& x, const Pass& pass, AdapterRows* rows = nullptr) const;
  // x W^T + bias.
  at::Tensor forward(const at::Tensor& x, const Pass& pass, AdapterRows* rows = nullptr) const;
  // dx = dy W.
  at::Tensor inputGradient(const at::Tensor& dy, const Pass& pass, AdapterRows* rows = nullptr) const;
  // dx + dy W, written over dx; dy W where dx is undefined.
  at::Tensor addInputGradient(at::Tensor dx, const at::Tensor& dy, const Pass& pass,
                              AdapterRows* rows = nullptr) const;
  // The gradients of the matrix, unless it is frozen, and of the adapters += dy^T x.
  void addWeightGradient(const at::Tensor& dy, const at::Tensor& x, const Pass& pass,
                         const AdapterRows& rows = {}) const;
  // Columns that a product writes and reads behind its input, and an input gradient behind dy: whoever makes
  // those rows may leave room for them (kernels/room.h).
  int64_t inputRoom() const { return joins() ? adapters_.inputRoom() : 0; }
  int64_t outputGradientRoom(const Pass& pass) const {
    return joins() ? adapters_.outputGradientRoom(pass) : 0;
  }
  // Bytes of the rows that a product leaves to its backward.
  int64_t rowsBytes(const ChunkSize& chunk) const {
    return chunk.tokens * adapters_.columns() * chunk.element;
  }

  // Undefined if there is none.
  at::Tensor bias(const Pass& pass) const { return bias_ ? pass.weight(*bias_) : at::Tensor(); }
  at::Tensor biasGradient(const Pass& pass) const { return bias_ ? pass.gradient(*bias_) : at::Tensor(); }

 protected:
  // The matrix that a pass multiplies with, and its gradient; undefined if it is frozen.
  virtual at::Tensor weight(const Pass& pass) const { return pass.weight(weight_); }
  const at::Tensor& matrixGradient(const Pass& pass) const { return pass.gradient(weight_); }
  virtual void addMatrixGradient(const at::Tensor& dy, const at::Tensor& x, const Pass& pass) const;
  // Whether the matrix may be read together with its adapters in its room.
  virtual bool joins() const { return true; }

 private:
  // x W^T + bias, where that is defined.
  at::Tensor throughMatrix(const at::Tensor& bias, const at::Tensor& x, const Pass& pass,
                           AdapterRows* rows) const;

  ParameterId weight_;
  Adapters adapters_;
  std::optional<ParameterId> bias_;
};

}  // namespace gradcache
