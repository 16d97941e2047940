// The parameters of one encoder in one flat buffer, the gradients of those that are trained in another.
// Casting all weights, clearing all gradients or keeping a copy of them is then one operation, and matrices
// that one product needs lie side by side.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

namespace gradcache {

struct ParameterSpec {
  std::string name;  // as in the Hugging Face checkpoint
  std::vector<int64_t> shape;
  bool decay = true;      // weight decay applies: false for biases and norms
  bool trainable = true;  // else it is frozen: it has no gradient
};

// A declared parameter, or several declared as one, as Parameters knows it.
using ParameterId = size_t;

// What is declared before there is memory for it.
class ParameterList {
 public:
  // `frozen` holds names of parameters, and beginnings of names that end before a dot.
  explicit ParameterList(std::vector<std::string> frozen)
      : frozen_(std::move(frozen)), used_(frozen_.size()) {}

  // Several lie end to end and are read as one, of the first dimensions' sum: a matrix below the other. They
  // are frozen together.
  ParameterId add(std::vector<ParameterSpec> joined);
  bool anyTrainable() const { return anyTrainable_; }
  // Throws INPUT where `frozen` has a name that is no parameter's, or where nothing is left to train.
  void requireSensible() const;

 private:
  friend class Parameters;
  struct Group {
    size_t first, count;  // of the specs
    std::vector<int64_t> shape;
  };
  bool isFrozen(const std::string& name);

  std::vector<std::string> frozen_;
  std::vector<bool> used_;
  bool anyTrainable_ = false;
  int64_t elements_ = 0;
  std::vector<ParameterSpec> specs_;
  std::vector<Group> groups_;
};

class Parameters {
 public:
  // Weights and gradients are float32, or float64 where that computes.
  Parameters(ParameterList list, at::ScalarType compute, at::Device device);

  size_t size() const { return specs_.size(); }
  const ParameterSpec& spec(size_t index) const { return specs_[index]; }
  // A leaf that shares the flat buffer; `value.grad()` is the gradient's view, undefined where it is frozen.
  const at::Tensor& value(size_t index) const { return values_[index]; }
  const at::Tensor& leaf(ParameterId id) const { return values_[views_[id].first]; }

  // In the type that computes: cast for all parameters at once, when a weight has changed since.
  at::Tensor compute(ParameterId id);
  // What a backward adds to: undefined for a frozen matrix, for a frozen vector memory that nobody reads (the
  // kernels sum vectors on the way).
  const at::Tensor& gradient(ParameterId id) const { return views_[id].gradient; }

  const at::Tensor& flatGradients() const { return flatGradients_; }
  // Changes whenever any weight is written in place.
  int64_t version() const { return flatValues_._version(); }

 private:
  struct View {
    size_t first;
    int64_t offset, elements;
    std::vector<int64_t> shape;
    at::Tensor compute, gradient;
  };
  void viewAs(const at::Tensor& flat);

  std::vector<ParameterSpec> specs_;
  at::Tensor flatValues_, flatGradients_;
  at::ScalarType compute_;
  int64_t castVersion_ = -1;
  std::vector<at::Tensor> values_;
  std::vector<View> views_;
};

}  // namespace gradcache
