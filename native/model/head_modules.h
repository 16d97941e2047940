// What representations go through, in the order of the model: dense layers, layer norms, dropout, the scaling
// to length one.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <string>
#include <vector>

#include "core/settings.h"
#include "model/builder.h"

namespace gradcache {

class HeadModules {
 public:
  // Takes rows of `width`; reads the setting `list`, whose records have a `kind`:
  // - dense: inFeatures, outFeatures, activation, bias, perhaps dropout in front of it, and residual, which
  //   adds the input, through a matrix of its own where the widths differ;
  // - norm: a layer norm, perhaps with an epsilon and with a bias or none;
  // - dropout: probability;
  // - normalize: to length one.
  // `name` names the parameters of the first two. Throws INPUT for another kind.
  HeadModules(int64_t width, const Settings& settings, Builder& builder, const std::string& list = "modules");

  bool empty() const { return modules_.empty(); }
  // Whether the first is the scaling to length one.
  bool beginWithNormalize() const { return !modules_.empty() && modules_.front().kind == "normalize"; }
  // Of the rows that the last module gives.
  int64_t width() const { return width_; }
  // Without the first `skipped` modules. Recorded by autograd where that is on.
  at::Tensor forward(at::Tensor rows, const Pass& pass, size_t skipped = 0) const;
  // Bytes that a graph keeps for a row; `wide` are those of a number.
  int64_t tapeBytes(int64_t wide, size_t skipped = 0) const;

 private:
  using Forward = std::function<at::Tensor(const at::Tensor&, const Pass&)>;
  struct Module {
    std::string kind;
    int64_t kept;  // numbers of a row that a graph keeps
    Forward forward;
  };
  Module dense(const Settings& settings, Builder& builder);
  Module norm(const Settings& settings, Builder& builder) const;

  int64_t width_;
  std::vector<Module> modules_;
};

}  // namespace gradcache
