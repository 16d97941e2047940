#include "binding/layout.h"

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "binding/errors.h"
#include "binding/tensor.h"
#include "binding/tensor_list.h"
#include "core/dtype.h"
#include "core/error.h"
#include "core/gradient_type.h"

namespace gradcache::binding {

namespace {

// Names are read only when a tensor is refused.
class Names {
 public:
  explicit Names(const Napi::Value& list) {
    require(list.IsArray(), "INPUT", "the names must be a list");
    list_ = list.As<Napi::Array>();
  }
  std::string operator[](size_t index) const { return list_.Get(static_cast<uint32_t>(index)).ToString(); }

 private:
  Napi::Array list_;
};

void requireDense(const at::Tensor& tensor, const Names& names, size_t index) {
  if (tensor.layout() != at::kStrided)
    fail("INPUT", "Parameter ", names[index], " is ", tensor.layout(), "; only dense tensors are updated.");
  // The fused kernels update numel() consecutive elements, whatever the strides.
  if (!tensor.is_non_overlapping_and_dense())
    fail("INPUT", "Parameter ", names[index], " is a view with strides ", tensor.strides(),
         " of another tensor, whose other elements an update would reach as well. Train the whole tensor, or "
         "a "
         "contiguous copy (call('aten::contiguous', tensor)) as a leaf of its own.");
}

bool sameStrides(const at::Tensor& one, const at::Tensor& other) {
  for (int64_t k = 0; k < one.dim(); ++k)
    if (one.stride(k) != other.stride(k) && one.size(k) > 1) return false;
  return true;
}

void requireAlike(const std::string& what, const at::Tensor& other, const at::Tensor& tensor,
                  const Names& names, size_t index, bool wider) {
  const auto refuse = [&](const char* code, const auto&... parts) {
    fail(code, "The ", what, " of ", names[index], parts...);
  };
  if (other.sizes() != tensor.sizes())
    refuse("SHAPE", " has shape ", other.sizes(), ", its parameter ", tensor.sizes(),
           ": was one of them resized?");
  if (!(wider && isGradientType(other.scalar_type(), tensor.scalar_type())) &&
      other.scalar_type() != tensor.scalar_type())
    refuse("DTYPE", " is ", dtypeName(other.scalar_type()), ", its parameter ",
           dtypeName(tensor.scalar_type()), ".");
  if (other.device() != tensor.device())
    refuse("DEVICE", " is on ", other.device(), ", its parameter on ", tensor.device(), ".");
  if (other.layout() != at::kStrided)
    refuse("INPUT", " is ", other.layout(), ", its parameter dense: set a dense one.");
  if (!sameStrides(other, tensor))
    refuse("INPUT", " has strides ", other.strides(), ", its parameter ", tensor.strides(),
           ": set one that lies in memory as its parameter does (copy it into call('aten::empty_like', "
           "parameter)).");
}

}  // namespace

Napi::Value requireDense(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Names names(info[0]);
    const std::vector<at::Tensor>& tensors = TensorListHandle::get(info[1], "the tensors");
    for (size_t k = 0; k < tensors.size(); ++k) requireDense(tensors[k], names, k);
    return info.Env().Undefined();
  });
}

Napi::Value requireAlike(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    require(info[0].IsString(), "INPUT", "what lies beside the tensors must have a name");
    const std::string what = info[0].As<Napi::String>();
    const Names names(info[1]);
    const std::vector<at::Tensor>& tensors = TensorListHandle::get(info[2], "the tensors");
    const std::vector<at::Tensor>& others = TensorListHandle::get(info[3], what.c_str());
    const bool wider = info[4].IsBoolean() && info[4].As<Napi::Boolean>().Value();
    require(others.size() == tensors.size(), "INPUT", tensors.size(), " tensors and ", others.size(),
            " beside them");
    for (size_t k = 0; k < tensors.size(); ++k) {
      requireDense(tensors[k], names, k);
      requireAlike(what, others[k], tensors[k], names, k, wider);
    }
    return info.Env().Undefined();
  });
}

}  // namespace gradcache::binding
