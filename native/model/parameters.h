// The parameters of one encoder in one flat buffer, the gradients of the trained ones in another. Casting all
// weights, or clearing or copying all gradients, is one operation, and matrices of one product are adjacent.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <string>
#include <vector>

namespace gradcache {

// What a parameter holds before training.
struct Initial {
  enum class Kind {
    kUsual,     // a matrix is normal with the model's deviation, the scale of a norm is 1, all else is 0
    kUniform,   // from -value to value
    kConstant,  // value
  };
  Kind kind = Kind::kUsual;
  double value = 0;

  static Initial uniform(double bound) { return {Kind::kUniform, bound}; }
  static Initial constant(double value) { return {Kind::kConstant, value}; }
  // Of a matrix [out, in] (Glorot & Bengio 2010), times `gain`.
  static Initial xavier(int64_t in, int64_t out, double gain = 1) {
    return uniform(gain * std::sqrt(6.0 / static_cast<double>(in + out)));
  }
};

struct ParameterSpec {
  std::string name;  // as in the Hugging Face checkpoint
  std::vector<int64_t> shape;
  bool decay = true;  // weight decay applies: false for biases and norms
  Initial initial{};
  bool trainable = true;  // else it is frozen: it has no gradient
};

// Identifies a declared parameter, or several declared as one.
using ParameterId = size_t;

// The declarations, before memory is allocated.
class ParameterList {
 public:
  // `frozen` holds names of parameters, and beginnings of names that end before a dot.
  explicit ParameterList(std::vector<std::string> frozen) : frozen_(std::move(frozen)) {}

  // Several are stored end to end and read as one, stacked along the first dimension. They are frozen
  // together.
  ParameterId add(std::vector<ParameterSpec> joined);
  // What was declared alone under this name. Throws INPUT where nothing was.
  ParameterId named(const std::string& name) const;
  bool anyTrainable() const { return anyTrainable_; }

 private:
  friend class Parameters;
  struct Group {
    size_t first, count;  // of the specs
    std::vector<int64_t> shape;
  };
  bool isFrozen(const std::string& name) const;

  std::vector<std::string> frozen_;
  bool anyTrainable_ = false;
  int64_t elements_ = 0;
  std::vector<ParameterSpec> specs_;
  std::vector<Group> groups_;
};

class Parameters {
 public:
  // Weights and gradients are float32 (float64 for float64).
  Parameters(ParameterList list, at::ScalarType compute, at::Device device);

  size_t size() const { return specs_.size(); }
  const ParameterSpec& spec(size_t index) const { return specs_[index]; }
  // A leaf that shares the flat buffer; `value.grad()` is the gradient's view, undefined if frozen.
  const at::Tensor& value(size_t index) const { return values_[index]; }
  const at::Tensor& leaf(ParameterId id) const { return values_[views_[id].first]; }

  // In the compute type. All parameters are cast at once after a weight has changed.
  at::Tensor compute(ParameterId id);
  // A backward adds to it. Undefined for a frozen matrix; for a frozen vector, unused memory, because the
  // kernels always sum vectors.
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
