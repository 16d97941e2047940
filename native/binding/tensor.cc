#include "binding/tensor.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "binding/async.h"
#include "core/error.h"
#include "kernels/cuda_bridge/devices.h"

namespace gradcache::binding {

namespace {

constexpr std::array<std::pair<const char*, at::ScalarType>, 10> kTypes{{
    {"float64", at::kDouble},
    {"float32", at::kFloat},
    {"float16", at::kHalf},
    {"bfloat16", at::kBFloat16},
    {"int64", at::kLong},
    {"int32", at::kInt},
    {"int16", at::kShort},
    {"int8", at::kChar},
    {"uint8", at::kByte},
    {"bool", at::kBool},
}};

// Marks the objects that are handles, also across two copies of the addon in one process.
constexpr napi_type_tag kTag{0x6772616463616368ull, 0x74656e736f720001ull};

Napi::Buffer<uint8_t> toBuffer(Napi::Env env, const at::Tensor& host) {
  auto buffer = Napi::Buffer<uint8_t>::New(env, host.nbytes());
  if (host.nbytes() > 0) std::memcpy(buffer.Data(), host.const_data_ptr(), host.nbytes());
  return buffer;
}

at::Tensor toHost(const at::Tensor& tensor) { return tensor.detach().to(at::kCPU).contiguous(); }

}  // namespace

const char* dtypeName(at::ScalarType type) {
  for (const auto& [name, known] : kTypes) {
    if (known == type) return name;
  }
  return c10::toString(type);
}

at::ScalarType dtypeFromName(const std::string& name) {
  for (const auto& [known, type] : kTypes) {
    if (name == known) return type;
  }
  fail("DTYPE", "'", name,
       "' is no element type; known are float64, float32, float16, bfloat16, int64, int32, int16, int8, "
       "uint8, bool");
}

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

std::vector<int64_t> integers(const Napi::Value& value, const char* what) {
  require(value.IsArray(), "SHAPE", what, " must be an array of integers");
  auto array = value.As<Napi::Array>();
  std::vector<int64_t> result;
  result.reserve(array.Length());
  for (uint32_t k = 0; k < array.Length(); ++k) {
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
          InstanceAccessor<&TensorHandle::disposed>("disposed"),
          InstanceAccessor<&TensorHandle::requiresGrad, &TensorHandle::setRequiresGrad>("requiresGrad"),
          InstanceAccessor<&TensorHandle::isLeaf>("isLeaf"),
          InstanceAccessor<&TensorHandle::grad, &TensorHandle::setGrad>("grad"),
          InstanceAccessor<&TensorHandle::version>("version"),
          InstanceMethod<&TensorHandle::item>("item"),
          InstanceMethod<&TensorHandle::bytes>("bytes"),
          InstanceMethod<&TensorHandle::bytesSync>("bytesSync"),
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
  // A view shares its base's storage, which was reported with the base.
  if (tensor_.defined() && tensor_.is_cpu() && !tensor_.is_view()) {
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

Napi::Value TensorHandle::disposed(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), !tensor_.defined());
}

Napi::Value TensorHandle::requiresGrad(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Boolean::New(info.Env(), alive(info.Env()).requires_grad());
  });
}

void TensorHandle::setRequiresGrad(const Napi::CallbackInfo& info, const Napi::Value& value) {
  guarded(info.Env(), [&] { alive(info.Env()).requires_grad_(value.ToBoolean().Value()); });
}

Napi::Value TensorHandle::isLeaf(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Boolean::New(info.Env(), alive(info.Env()).is_leaf());
  });
}

Napi::Value TensorHandle::grad(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const at::Tensor& grad = alive(info.Env()).grad();
    return grad.defined() ? Napi::Value(wrap(info.Env(), grad)) : info.Env().Null();
  });
}

void TensorHandle::setGrad(const Napi::CallbackInfo& info, const Napi::Value& value) {
  guarded(info.Env(), [&] {
    at::Tensor& tensor = alive(info.Env());
    if (value.IsNull() || value.IsUndefined()) {
      tensor.mutable_grad().reset();
      return;
    }
    const at::Tensor& grad = get(value, "grad");
    require(grad.sizes() == tensor.sizes(), "SHAPE", "grad has shape ", grad.sizes(), ", its tensor ",
            tensor.sizes());
    require(grad.scalar_type() == tensor.scalar_type(), "DTYPE", "grad has type ",
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
    return Napi::Number::New(info.Env(), tensor.item().toDouble());
  });
}

Napi::Value TensorHandle::version(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), static_cast<double>(alive(info.Env())._version()));
  });
}

Napi::Value TensorHandle::bytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return promise(
        info.Env(), 0, [tensor = alive(info.Env())] { return toHost(tensor); },
        [](Napi::Env env, const at::Tensor& host) { return toBuffer(env, host); });
  });
}

Napi::Value TensorHandle::bytesSync(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&]() -> Napi::Value { return toBuffer(info.Env(), toHost(alive(info.Env()))); });
}

Napi::Value TensorHandle::dispose(const Napi::CallbackInfo& info) {
  tensor_.reset();
  if (reported_ > 0) Napi::MemoryManagement::AdjustExternalMemory(info.Env(), -reported_);
  reported_ = 0;
  return info.Env().Undefined();
}

Napi::Value tensorFromBytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    require(info[0].IsTypedArray(), "INPUT", "the bytes of a tensor must be a typed array");
    auto source = info[0].As<Napi::TypedArray>();
    std::vector<int64_t> shape = integers(info[1], "shape");
    at::ScalarType type = dtypeFromName(info[2].ToString());
    c10::Device device = deviceFromName(info[3].ToString());
    // The product is kept below 2^53 bytes at each factor, so that it cannot wrap.
    int64_t count = 1;
    for (int64_t extent : shape) {
      require(extent >= 0, "SHAPE", "shape ", c10::IntArrayRef(shape), " has a negative extent");
      require(extent == 0 || count <= (int64_t{1} << 50) / extent, "SHAPE", "shape ", c10::IntArrayRef(shape),
              " is too large");
      count *= extent;
    }
    size_t wanted = static_cast<size_t>(count) * c10::elementSize(type);
    require(source.ByteLength() == wanted, "SHAPE", "shape ", c10::IntArrayRef(shape), " of ",
            dtypeName(type), " takes ", wanted, " bytes, ", source.ByteLength(), " were given");
    // From pinned memory the copy to a GPU waits for nothing; the allocator keeps the block until it is done.
    at::Tensor host = at::empty(shape, at::TensorOptions().dtype(type).pinned_memory(device.is_cuda()));
    if (wanted > 0) {
      auto* data = static_cast<const uint8_t*>(source.ArrayBuffer().Data()) + source.ByteOffset();
      std::memcpy(host.mutable_data_ptr(), data, wanted);
    }
    return TensorHandle::wrap(info.Env(), host.to(device, /*non_blocking=*/true));
  });
}

}  // namespace gradcache::binding
