#include "binding/system.h"

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <fstream>
#include <sstream>
#include <string>

#include "binding/async.h"
#include "binding/instance.h"
#include "binding/tensor.h"
#include "core/error.h"
#include "core/seeded_generators.h"
#include "kernels/cuda/library.h"

namespace gradcache::binding {

namespace {

// Bytes from a line such as "VmRSS:     1234 kB" of a file of the kernel; 0 if it has none.
double kernelAccount(const char* file, const std::string& field) {
  std::ifstream account(file);
  for (std::string line; std::getline(account, line);) {
    if (line.rfind(field + ":", 0) != 0) continue;
    double kilobytes = 0;
    std::istringstream(line.substr(field.size() + 1)) >> kilobytes;
    return kilobytes * 1024;
  }
  return 0;
}

c10::Device deviceArgument(const Napi::CallbackInfo& info) {
  return deviceFromName(info[0].IsUndefined() ? "cpu" : nameFrom(info[0], "DEVICE", "device"));
}

}  // namespace

Napi::Value memory(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const c10::Device device = deviceArgument(info);
    auto result = Napi::Object::New(info.Env());
    if (device.is_cpu()) {
      const double resident = kernelAccount("/proc/self/status", "VmRSS");
      result.Set("allocated", resident);
      result.Set("peak", kernelAccount("/proc/self/status", "VmHWM"));
      result.Set("reserved", resident);
      result.Set("available", kernelAccount("/proc/meminfo", "MemAvailable"));
    } else {
      const auto statistics = at::accelerator::getDeviceStats(device.index());
      const double allocated = static_cast<double>(statistics.allocated_bytes[0].current);
      const double reserved = static_cast<double>(statistics.reserved_bytes[0].current);
      // Free memory of the driver, and memory that the allocator holds unused.
      const double free = static_cast<double>(at::accelerator::getMemoryInfo(device.index()).first);
      result.Set("available", free + reserved - allocated);
      result.Set("allocated", allocated);
      result.Set("peak", static_cast<double>(statistics.allocated_bytes[0].peak));
      result.Set("reserved", reserved);
    }
    return result;
  });
}

void resetPeakMemory(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const c10::Device device = deviceArgument(info);
    if (device.is_cpu()) {
      std::ofstream("/proc/self/clear_refs") << "5";  // resets VmHWM to VmRSS (proc(5))
    } else {
      at::accelerator::resetPeakStats(device.index());
    }
  });
}

void emptyCache(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    if (!deviceArgument(info).is_cpu()) at::accelerator::emptyCache();
  });
}

Napi::Value synchronize(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const c10::Device device = deviceArgument(info);
    return promise(
        info.Env(), 0, Devices(device),
        [device] {
          if (!device.is_cpu()) at::accelerator::synchronizeDevice(device.index());
          return true;
        },
        [](Napi::Env env, bool) { return env.Undefined(); });
  });
}

Napi::Value threads(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    if (!info[0].IsUndefined()) {
      require(info[0].IsNumber(), "INPUT", "the number of threads must be a number");
      const int64_t count = info[0].As<Napi::Number>().Int64Value();
      require(count >= 1 && count <= 4096, "INPUT", "the number of threads must lie in 1..4096, got ", count);
      at::set_num_threads(static_cast<int>(count));
      // OpenMP's thread count belongs to a thread, so every engine sets its own.
      Instance::of(info.Env()).engines().onEach([count](bool cancelled) {
        if (!cancelled) at::set_num_threads(static_cast<int>(count));
      });
    }
    return Napi::Number::New(info.Env(), at::get_num_threads());
  });
}

void keepFloat32() { at::globalContext().setAllowTF32CuDNN(false); }

Napi::Value devices(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto result = Napi::Array::New(info.Env());
    uint32_t k = 0;
    result.Set(k++, "cpu");
    if (at::globalContext().hasCUDA()) {
      const int count = at::detail::getCUDAHooks().getNumGPUs();
      for (int index = 0; index < count; ++index) result.Set(k++, "cuda:" + std::to_string(index));
    }
    return result;
  });
}

void cancel(const Napi::CallbackInfo& info) {
  Instance::of(info.Env()).engines().cancel(static_cast<uint64_t>(info[0].ToNumber().Int64Value()));
}

void openCudaKernels(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { kernels::cuda::openLibrary(info[0].ToString(), info[1].ToString()); });
}

void shutdown(const Napi::CallbackInfo& info) {
  generatorMutex().letGo();
  Instance::of(info.Env()).shutdown();
}

}  // namespace gradcache::binding
