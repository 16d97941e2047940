#include "binding/tensor.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include <cmath>
#include <cstring>
#include <utility>

#include "binding/async.h"
#include "core/dtype.h"
#include "core/error.h"
#include "core/gradient_type.h"
#include "kernels/cuda/devices.h"

namespace gradcache::binding {

namespace {

// Marks the objects that are handles, also across two copies of the addon in one process.
constexpr napi_type_tag kTag{0x6772616463616368ull, 0x74656e736f720001ull};

// The limit of libtorch's own operators; a list from JavaScript may claim any length.
constexpr uint32_t kMostDimensions = 64;

// Up to here a JavaScript number holds every integer.
constexpr int64_t kLargestSafeInteger = (int64_t{1} << 53) - 1;

// A tensor over the memory of an ArrayBuffer, for the elements of `tensor` in the type that the second
// argument names.
at::Tensor overBuffer(const Napi::CallbackInfo& info, const at::Tensor& tensor) {
  const at::ScalarType type =
      info[1].IsUndefined() ? tensor.scalar_type() : dtypeFromName(nameFrom(info[1], "DTYPE", "dtype"));
  require(info[0].IsArrayBuffer(), "INPUT", "elements are copied to an ArrayBuffer");
  auto buffer = info[0].As<Napi::ArrayBuffer>();
  const size_t wanted = static_cast<size_t>(tensor.numel()) * c10::elementSize(type);
  require(buffer.ByteLength() == wanted, "SHAPE", "the elements take ", wanted, " bytes, the buffer has ",
          buffer.ByteLength());
  return at::from_blob(buffer.Data(), tensor.sizes(), at::TensorOptions().dtype(type));
}

// Resolves a view's pending negation or conjugation first: libtorch's copies between types ignore it.
void copyElements(at::Tensor& target, const at::Tensor& source) {
  at::NoGradGuard withoutGraph;
  if (target.numel() > 0) target.copy_(source.resolve_conj().resolve_neg());
}

}  // namespace

c10::Device deviceFromName(const std::string& name) {
  c10::Device device(at::kCPU);
  try {
    device = c10::Device(name);
  } catch (const c10::Error&) {
    fail("DEVICE", "'", name, "' is no device; use 'cpu', 'cuda' or 'cuda:N'");
  }
  if (device.is_cpu()) return device;
  require(device.is_cuda(), "DEVICE", "'", name,
          "' is not a device that gradcache runs on; use 'cpu', 'cuda' or 'cuda:N'");
  kernels::cuda::requireCuda(name);
  at::globalContext().lazyInitDevice(at::kCUDA);
  int count = at::detail::getCUDAHooks().getNumGPUs();
  int index = device.has_index() ? device.index() : 0;
  require(index < count, "DEVICE", "'", name, "' does not exist: ", count,
          " CUDA device(s) found, numbered from 0");
  kernels::cuda::requireCapability(name, index);
  return c10::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
}

std::string nameFrom(const Napi::Value& value, const char* code, const char* what) {
  require(value.IsString(), code, what, " must be a string");
  return value.As<Napi::String>();
}

std::vector<int64_t> integers(const Napi::Value& value, const char* what) {
  require(value.IsArray(), "SHAPE", what, " must be an array of integers");
  auto array = value.As<Napi::Array>();
  std::vector<int64_t> result;
  for (uint32_t k = 0; k < array.Length(); ++k) {
    Napi::HandleScope scope(value.Env());
    Napi::Value element = array.Get(k);
    require(element.IsNumber(), "SHAPE", what, "[", k, "] is not a number");
    double number = element.As<Napi::Number>().DoubleValue();
    require(number == std::floor(number) && std::abs(number) <= 9007199254740991.0, "SHAPE", what, "[", k,
            "] = ", number, " is not an integer");
    result.push_back(static_cast<int64_t>(number));
  }
  return result;
}

void TensorHandle::define(Napi::Env env, Napi::Object exports) {
  auto constructor = DefineClass(
      env, "TensorHandle",
      {
          InstanceAccessor<&TensorHandle::shape>("shape"),
          InstanceAccessor<&TensorHandle::dtype>("dtype"),
          InstanceAccessor<&TensorHandle::device>("device"),
          InstanceAccessor<&TensorHandle::elementBytes>("elementBytes"),
          InstanceAccessor<&TensorHandle::disposed>("disposed"),
          InstanceAccessor<&TensorHandle::requiresGrad, &TensorHandle::setRequiresGrad>("requiresGrad"),
          InstanceAccessor<&TensorHandle::grad, &TensorHandle::setGrad>("grad"),
          InstanceMethod<&TensorHandle::item>("item"),
          InstanceMethod<&TensorHandle::copyTo>("copyTo"),
          InstanceMethod<&TensorHandle::copyToSync>("copyToSync"),
          InstanceMethod<&TensorHandle::dispose>("dispose"),
      });
  Instance::of(env).tensorConstructor = Napi::Persistent(constructor);
  exports.Set("TensorHandle", constructor);
}

Napi::Object TensorHandle::wrap(Napi::Env env, at::Tensor tensor) {
  Napi::Object object = Instance::of(env).tensorConstructor.New({});
  Unwrap(object)->adopt(env, std::move(tensor));
  return object;
}

bool TensorHandle::is(const Napi::Value& value) {
  if (!value.IsObject()) return false;
  return value.As<Napi::Object>().CheckTypeTag(&kTag);
}

at::Tensor& TensorHandle::get(const Napi::Value& value, const char* what) {
  require(is(value), "DTYPE", what, " must be a Tensor");
  return Unwrap(value.As<Napi::Object>())->alive(value.Env());
}

TensorHandle::TensorHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

TensorHandle::~TensorHandle() {
  if (reported_ > 0) Napi::MemoryManagement::AdjustExternalMemory(Env(), -reported_);
}

void TensorHandle::adopt(Napi::Env env, at::Tensor tensor) {
  tensor_ = std::move(tensor);
  // A view shares its base's storage, which was reported with the base. So do sparse tensors that of their
  // values.
  if (tensor_.defined() && tensor_.is_cpu() && tensor_.layout() == at::kStrided && !tensor_.is_view()) {
    reported_ = static_cast<int64_t>(tensor_.nbytes());
    Napi::MemoryManagement::AdjustExternalMemory(env, reported_);
  }
}

at::Tensor& TensorHandle::alive(Napi::Env) {
  require(tensor_.defined(), "DISPOSED", "the tensor was used after dispose()");
  return tensor_;
}

Napi::Value TensorHandle::shape(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto sizes = alive(info.Env()).sizes();
    auto array = Napi::Array::New(info.Env(), sizes.size());
    for (size_t k = 0; k < sizes.size(); ++k)
      array.Set(static_cast<uint32_t>(k), static_cast<double>(sizes[k]));
    return array;
  });
}

Napi::Value TensorHandle::dtype(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::String::New(info.Env(), dtypeName(alive(info.Env()).scalar_type()));
  });
}

Napi::Value TensorHandle::device(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::String::New(info.Env(), alive(info.Env()).device().str());
  });
}

Napi::Value TensorHandle::elementBytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), static_cast<double>(alive(info.Env()).element_size()));
  });
}

Napi::Value TensorHandle::disposed(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), !tensor_.defined());
}

Napi::Value TensorHandle::requiresGrad(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Boolean::New(info.Env(), alive(info.Env()).requires_grad());
  });
}

void TensorHandle::setRequiresGrad(const Napi::CallbackInfo& info, const Napi::Value& value) {
  guarded(info.Env(), [&] {
    const bool wanted = value.ToBoolean().Value();
    const at::Tensor& tensor = alive(info.Env());
    Instance::of(info.Env()).gradientsAtWork.refuse(tensor);
    tensor.requires_grad_(wanted);
  });
}

Napi::Value TensorHandle::grad(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const at::Tensor& tensor = alive(info.Env());
    Instance::of(info.Env()).gradientsAtWork.refuse(tensor);
    const at::Tensor& grad = tensor.grad();
    return grad.defined() ? Napi::Value(wrap(info.Env(), grad)) : info.Env().Null();
  });
}

void TensorHandle::setGrad(const Napi::CallbackInfo& info, const Napi::Value& value) {
  guarded(info.Env(), [&] {
    at::Tensor& tensor = alive(info.Env());
    Instance::of(info.Env()).gradientsAtWork.refuse(tensor);
    if (value.IsNull() || value.IsUndefined()) {
      tensor.mutable_grad().reset();
      return;
    }
    const at::Tensor& grad = get(value, "grad");
    require(grad.sizes() == tensor.sizes(), "SHAPE", "grad has shape ", grad.sizes(), ", its tensor ",
            tensor.sizes());
    require(isGradientType(grad.scalar_type(), tensor.scalar_type()), "DTYPE", "grad has type ",
            dtypeName(grad.scalar_type()), ", its tensor ", dtypeName(tensor.scalar_type()));
    require(grad.device() == tensor.device(), "DEVICE", "grad is on ", grad.device(), ", its tensor on ",
            tensor.device());
    tensor.mutable_grad() = grad;
  });
}

Napi::Value TensorHandle::item(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const at::Tensor& tensor = alive(info.Env());
    require(tensor.numel() == 1, "SHAPE", "item() needs a tensor of one element, this one has shape ",
            tensor.sizes());
    require(!tensor.is_complex(), "DTYPE", "item() gives a real number, this tensor is ",
            dtypeName(tensor.scalar_type()), "; call('aten::view_as_real', tensor) gives both parts");
    const at::Scalar value = tensor.item();
    require(!value.isIntegral(false) || std::abs(value.toDouble()) <= kLargestSafeInteger, "DTYPE",
            "item() is ", value,
            ", which no JavaScript number holds exactly; values() gives a BigInt64Array");
    return Napi::Number::New(info.Env(), value.toDouble());
  });
}

Napi::Value TensorHandle::copyTo(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const at::Tensor& source = alive(info.Env());
    return promise(
        info.Env(), 0, Devices(source.device()),
        [source, target = overBuffer(info, source)]() mutable {
          copyElements(target, source);
          return true;
        },
        [](Napi::Env env, bool) { return env.Undefined(); });
  });
}

Napi::Value TensorHandle::copyToSync(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const at::Tensor& source = alive(info.Env());
    at::Tensor target = overBuffer(info, source);
    copyElements(target, source);
    return info.Env().Undefined();
  });
}

Napi::Value TensorHandle::dispose(const Napi::CallbackInfo& info) {
  tensor_.reset();
  if (reported_ > 0) Napi::MemoryManagement::AdjustExternalMemory(info.Env(), -reported_);
  reported_ = 0;
  return info.Env().Undefined();
}

Napi::Value isTensor(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), TensorHandle::is(info[0]));
}

Napi::Value tensorFromBytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    std::vector<int64_t> shape = integers(info[1], "shape");
    require(shape.size() <= kMostDimensions, "SHAPE", "a shape has at most ", kMostDimensions,
            " extents, got ", shape.size());
    at::ScalarType type = dtypeFromName(nameFrom(info[2], "DTYPE", "dtype"));
    c10::Device device = deviceFromName(nameFrom(info[3], "DEVICE", "device"));
    // The product is kept below 2^53 bytes at each factor, so that it cannot wrap.
    int64_t count = 1;
    for (int64_t extent : shape) {
      require(extent >= 0, "SHAPE", "shape ", c10::IntArrayRef(shape), " has a negative extent");
      require(extent == 0 || count <= (int64_t{1} << 50) / extent, "SHAPE", "shape ", c10::IntArrayRef(shape),
              " is too large");
      count *= extent;
    }
    const size_t wanted = static_cast<size_t>(count) * c10::elementSize(type);
    // Checked last: reading the shape may run getters, which may detach or shrink the buffer. From here to
    // the copy no JavaScript runs.
    require(info[0].IsTypedArray(), "INPUT", "the bytes of a tensor must be a typed array");
    auto source = info[0].As<Napi::TypedArray>();
    const size_t given = source.ByteLength();
    require(given == wanted, "SHAPE", "shape ", c10::IntArrayRef(shape), " of ", dtypeName(type), " takes ",
            wanted, " bytes, ", given, " were given");
    void* data = nullptr;
    if (napi_get_typedarray_info(info.Env(), source, nullptr, nullptr, &data, nullptr, nullptr) != napi_ok)
      throw Napi::Error::New(info.Env());
    require(data != nullptr || wanted == 0, "INPUT", "the buffer of the typed array is gone (transferred?)");
    // From pinned memory the copy to a GPU waits for nothing; the allocator keeps the block until it is done.
    at::Tensor host = at::empty(shape, at::TensorOptions().dtype(type).pinned_memory(device.is_cuda()));
    if (wanted > 0) std::memcpy(host.mutable_data_ptr(), data, wanted);
    return TensorHandle::wrap(info.Env(), host.to(device, /*non_blocking=*/true));
  });
}

}  // namespace gradcache::binding
