#include "core/parameters.h"

#include <utility>

#include "core/error.h"

namespace gradcache {

namespace {
constexpr int64_t kAlignment = 64;  // elements: 128 bytes in bf16, what vector loads and matrix kernels like

constexpr int64_t kMostElements = int64_t{1} << 50;  // of one encoder: far from where sums and bytes wrap

int64_t product(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  return count;
}

void requirePossible(const ParameterSpec& spec, int64_t before) {
  int64_t left = kMostElements - before;
  for (int64_t extent : spec.shape) {
    require(extent > 0, "CHECKPOINT", "parameter ", spec.name, " has shape ", c10::IntArrayRef(spec.shape),
            ": every extent must be positive");
    left /= extent;
  }
  require(left > 0, "OUT_OF_MEMORY", "with parameter ", spec.name, " of shape ", c10::IntArrayRef(spec.shape),
          " the encoder has more than 2^50 weights");
}
}  // namespace

Parameters::Parameters(std::vector<ParameterSpec> specs, at::ScalarType type, at::Device device)
    : specs_(std::move(specs)) {
  int64_t end = 0;
  for (size_t k = 0; k < specs_.size(); ++k) {
    if (!specs_[k].joinsPrevious) end = (end + kAlignment - 1) / kAlignment * kAlignment;
    requirePossible(specs_[k], end);
    offsets_.push_back(end);
    end += product(specs_[k].shape);
    require(indices_.emplace(specs_[k].name, k).second, "INPUT", "two parameters are named '", specs_[k].name,
            "'");
  }
  at::NoGradGuard withoutGraph;
  const auto options = at::TensorOptions().dtype(type).device(device);
  flatValues_ = at::zeros({end}, options);
  flatGradients_ = at::zeros({end}, options);
  for (size_t k = 0; k < specs_.size(); ++k) {
    const int64_t count = product(specs_[k].shape);
    at::Tensor value = flatValues_.narrow(0, offsets_[k], count).view(specs_[k].shape).detach();
    at::Tensor gradient = flatGradients_.narrow(0, offsets_[k], count).view(specs_[k].shape).detach();
    value.requires_grad_(true);
    value.mutable_grad() = gradient;
    values_.push_back(std::move(value));
    gradients_.push_back(std::move(gradient));
  }
}

size_t Parameters::index(const std::string& name) const {
  auto found = indices_.find(name);
  require(found != indices_.end(), "INPUT", "the encoder has no parameter '", name, "'");
  return found->second;
}

at::Tensor Parameters::joinedGradient(size_t index, size_t count, at::IntArrayRef shape) const {
  const size_t last = index + count - 1;
  const int64_t elements = offsets_[last] + product(specs_[last].shape) - offsets_[index];
  return flatGradients_.narrow(0, offsets_[index], elements).view(shape);
}

at::Tensor Parameters::computeJoined(size_t index, size_t count, at::IntArrayRef shape, at::ScalarType type) {
  const size_t last = index + count - 1;
  const int64_t elements = offsets_[last] + product(specs_[last].shape) - offsets_[index];
  return flatCompute(type).narrow(0, offsets_[index], elements).view(shape);
}

at::Tensor Parameters::compute(size_t index, at::ScalarType type) {
  return computeJoined(index, 1, specs_[index].shape, type);
}

const at::Tensor& Parameters::flatCompute(at::ScalarType type) {
  if (type == flatValues_.scalar_type()) return flatValues_;
  if (castVersion_ != version() || !flatCast_.defined() || flatCast_.scalar_type() != type) {
    flatCast_ = flatValues_.to(type);
    castVersion_ = version();
  }
  return flatCast_;
}

}  // namespace gradcache
