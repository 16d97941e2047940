// Dense layers on representations, and the scaling of these to length one.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "core/settings.h"
#include "model/builder.h"

namespace gradcache {

class DenseLayers {
 public:
  // Takes rows of `width`; reads the setting dense. A layer has the parameters NAME.weight and NAME.bias,
  // where `name` is a setting of its own (default: dense.0, dense.1, …), and may have `dropout` in front of
  // it.
  DenseLayers(int64_t width, const Settings& settings, Builder& builder);

  bool empty() const { return layers_.empty(); }
  // Of the rows that the last layer gives.
  int64_t width() const { return layers_.empty() ? width_ : layers_.back().width; }
  // Recorded by autograd where that is on.
  at::Tensor forward(at::Tensor rows, const Pass& pass) const;
  // Bytes that a graph keeps for a row; `wide` are those of a number.
  int64_t tapeBytes(int64_t wide) const;

 private:
  struct Layer {
    int64_t in, width;
    Dropout dropout;
    ParameterId weight;
    std::optional<ParameterId> bias;
    at::Tensor (*activation)(const at::Tensor&);
  };

  int64_t width_;
  std::vector<Layer> layers_;
};

// Divides each row by its length.
at::Tensor toLengthOne(const at::Tensor& rows);

}  // namespace gradcache
