// What the blocks share for one chunk, in forward and in backward.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <unordered_map>
#include <utility>

#include "core/dropout_key.h"
#include "core/error.h"
#include "kernels/sequences.h"
#include "model/carried.h"
#include "model/packed_tokens.h"
#include "model/parameters.h"

namespace gradcache {

struct Pass {
  PackedTokens tokens;
  std::shared_ptr<Parameters> parameters;
  uint64_t seed = 0;
  bool dropout = false;  // off at inference
  int64_t version = 0;   // of the weights
  // Null: nothing is carried, as in a text encoder; every sequence starts anew.
  std::shared_ptr<Carried> carried{};
  mutable std::unordered_map<const void*, at::Tensor> shared{};
  mutable std::shared_ptr<const kernels::composite::Rectangles> rectangles{};  // see kernels::Sequences

  kernels::Sequences sequences() const {
    return {tokens.offsets,
            tokens.deviceOffsets,
            tokens.longest,
            tokens.skipped,
            tokens.keyEnds.empty() ? nullptr : &tokens.keyEnds,
            tokens.deviceKeyEnds,
            &rectangles};
  }
  // Of weights, gradients and carried state.
  at::ScalarType wideType() const { return parameters->flatGradients().scalar_type(); }
  // In the compute type.
  at::Tensor weight(ParameterId id) const { return parameters->compute(id); }
  const at::Tensor& gradient(ParameterId id) const { return parameters->gradient(id); }
  void requireSameWeights() const {
    require(parameters->version() == version, "INPUT",
            "the weights were changed between a chunk's forward and its backward: its gradient would belong "
            "to neither");
  }
  // A tensor that several blocks use, made at the first request for `owner`.
  template <class Make>
  const at::Tensor& once(const void* owner, const Make& make) const {
    at::Tensor& tensor = shared[owner];
    if (!tensor.defined()) tensor = make();
    return tensor;
  }
};

// A dropout place, identified by its number in the encoder.
struct Dropout {
  double probability = 0;
  uint64_t site = 0;

  DropoutKey key(const Pass& pass) const {
    return DropoutKey::make(pass.dropout ? probability : 0, pass.seed, site);
  }
};

// A block's slot for what it carries from segment to segment. Where nothing is carried, all that it reads is
// undefined, and what it is given is dropped.
struct Carry {
  size_t slot = 0;

  // Contiguous, as kernels read it; the caller's may be a view.
  at::Tensor before(const Pass& pass) const {
    return pass.carried ? contiguous(pass.carried->before[slot]) : at::Tensor();
  }
  void setAfter(const Pass& pass, at::Tensor after) const {
    if (pass.carried) pass.carried->after[slot] = std::move(after);
  }
  at::Tensor afterGradient(const Pass& pass) const {
    return pass.carried ? contiguous(pass.carried->afterGradient[slot]) : at::Tensor();
  }
  void setBeforeGradient(const Pass& pass, at::Tensor gradient) const {
    if (pass.carried) pass.carried->beforeGradient[slot] = std::move(gradient);
  }

 private:
  static at::Tensor contiguous(const at::Tensor& tensor) {
    return tensor.defined() ? tensor.contiguous() : tensor;
  }
};

}  // namespace gradcache
