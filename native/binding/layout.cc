#include "binding/layout.h"

#include <ATen/ATen.h>

#include <string>

#include "binding/errors.h"
#include "binding/tensor.h"
#include "core/error.h"

namespace gradcache::binding {

namespace {

// Names are read only when a tensor is refused.
class Names {
 public:
  explicit Names(const Napi::Value& list) : list_(arrayFrom(list, "the names")) {}
  std::string operator[](uint32_t index) const { return list_.Get(index).ToString(); }

  static Napi::Array arrayFrom(const Napi::Value& value, const char* what) {
    require(value.IsArray(), "INPUT", what, " must be a list");
    return value.As<Napi::Array>();
  }

 private:
  Napi::Array list_;
};

void requireDense(const at::Tensor& tensor, const Names& names, uint32_t index) {
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
                  const Names& names, uint32_t index) {
  const auto refuse = [&](const char* code, const auto&... parts) {
    fail(code, "The ", what, " of ", names[index], parts...);
  };
  if (other.sizes() != tensor.sizes())
    refuse("SHAPE", " has shape ", other.sizes(), ", its parameter ", tensor.sizes(),
           ": was one of them resized?");
  if (other.scalar_type() != tensor.scalar_type())
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
    const Napi::Array tensors = Names::arrayFrom(info[1], "the tensors");
    for (uint32_t k = 0; k < tensors.Length(); ++k)
      requireDense(TensorHandle::get(tensors.Get(k), "a parameter"), names, k);
    return info.Env().Undefined();
  });
}

Napi::Value requireAlike(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    require(info[0].IsString(), "INPUT", "what lies beside the tensors must have a name");
    const std::string what = info[0].As<Napi::String>();
    const Names names(info[1]);
    const Napi::Array tensors = Names::arrayFrom(info[2], "the tensors");
    const Napi::Array others = Names::arrayFrom(info[3], "the tensors beside them");
    require(others.Length() == tensors.Length(), "INPUT", tensors.Length(), " tensors and ", others.Length(),
            " beside them");
    for (uint32_t k = 0; k < tensors.Length(); ++k) {
      const at::Tensor& tensor = TensorHandle::get(tensors.Get(k), "a parameter");
      requireDense(tensor, names, k);
      const Napi::Value other = others.Get(k);
      if (!other.IsNull()) requireAlike(what, TensorHandle::get(other, what.c_str()), tensor, names, k);
    }
    return info.Env().Undefined();
  });
}

}  // namespace gradcache::binding
