// The parameters of one encoder in one flat buffer, their gradients in another. Casting all weights, clearing
// all gradients or keeping a copy of them is then one operation, and matrices that one product needs lie side
// by side.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <unordered_map>
#include <vector>

namespace gradcache {

struct ParameterSpec {
  std::string name;  // as in the Hugging Face checkpoint
  std::vector<int64_t> shape;
  bool decay = true;           // weight decay applies: false for biases and norms
  bool joinsPrevious = false;  // lies directly behind the parameter before it, as one matrix with it
};

class Parameters {
 public:
  // `type` is float32 or float64: the weights' and the gradients' own type, whatever type computes.
  Parameters(std::vector<ParameterSpec> specs, at::ScalarType type, at::Device device);

  size_t size() const { return specs_.size(); }
  const ParameterSpec& spec(size_t index) const { return specs_[index]; }
  size_t index(const std::string& name) const;

  // Leaves that share the flat buffers; `value.grad()` is the gradient view.
  const at::Tensor& value(size_t index) const { return values_[index]; }
  const at::Tensor& gradient(size_t index) const { return gradients_[index]; }
  // `count` joined parameters as one tensor, of the weights in `type` and of their gradients.
  at::Tensor joinedGradient(size_t index, size_t count, at::IntArrayRef shape) const;
  at::Tensor computeJoined(size_t index, size_t count, at::IntArrayRef shape, at::ScalarType type);
  // The parameter in the type that computes: cast for all parameters at once, when a weight has changed
  // since.
  at::Tensor compute(size_t index, at::ScalarType type);

  const at::Tensor& flatGradients() const { return flatGradients_; }
  // Changes whenever any weight is written in place.
  int64_t version() const { return flatValues_._version(); }

 private:
  const at::Tensor& flatCompute(at::ScalarType type);

  std::vector<ParameterSpec> specs_;
  std::vector<int64_t> offsets_;
  std::unordered_map<std::string, size_t> indices_;
  at::Tensor flatValues_, flatGradients_, flatCast_;
  int64_t castVersion_ = -1;
  std::vector<at::Tensor> values_, gradients_;
};

}  // namespace gradcache
