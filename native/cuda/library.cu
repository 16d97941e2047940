// The library itself: its version, its errors, and what it remembers of each device.
#include <atomic>
#include <cstdio>

#include "cuda/common.cuh"

namespace gradcache::cuda {

namespace {

constexpr int kDevices = 64;  // of a process; further ones are asked each time

int currentDevice() {
  int device = -1;
  return cudaGetDevice(&device) == cudaSuccess ? device : -1;
}

}  // namespace

int multiprocessors() {
  // Each thread that comes first writes the same number.
  static std::atomic<int> known[kDevices];
  const int device = currentDevice();
  if (device < 0) return 0;
  int count = device < kDevices ? known[device].load(std::memory_order_relaxed) : 0;
  if (count > 0) return count;
  if (cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) return 0;
  if (device < kDevices) known[device].store(count, std::memory_order_relaxed);
  return count;
}

cudaError_t allowSharedMemory(const void* kernel, size_t bytes) {
  // Static shared memory counts towards the 48 KiB that need no asking.
  constexpr size_t kWithoutAsking = 32 * 1024;
  if (bytes <= kWithoutAsking) return cudaSuccess;
  // The limit is the kernel's and not a launch's, so a smaller one of another thread would fail a launch that
  // comes right after it: it is always set to all that there is.
  cudaFuncAttributes attributes;
  int most = 0;
  cudaError_t code = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, currentDevice());
  if (code == cudaSuccess) code = cudaFuncGetAttributes(&attributes, kernel);
  if (code != cudaSuccess) return code;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              most - static_cast<int>(attributes.sharedSizeBytes));
}

}  // namespace gradcache::cuda

int gradcache_cuda_abi(void) { return GRADCACHE_CUDA_ABI; }

const char* gradcache_cuda_error(int code) { return cudaGetErrorString(static_cast<cudaError_t>(code)); }

int gradcache_cuda_driver(int* driver, int* built, int* devices) {
  *driver = *built = *devices = 0;
  cudaDriverGetVersion(driver);
  cudaRuntimeGetVersion(built);
  const cudaError_t code = cudaGetDeviceCount(devices);
  if (code != cudaSuccess) {
    *devices = 0;
    cudaGetLastError();  // told here, so not again at the next launch
  }
  return code;
}

int gradcache_cuda_device(int index, int* major, int* minor, char* name, size_t size) {
  cudaDeviceProp properties;
  const cudaError_t code = cudaGetDeviceProperties(&properties, index);
  if (code != cudaSuccess) return code;
  *major = properties.major;
  *minor = properties.minor;
  snprintf(name, size, "%s", properties.name);
  return cudaSuccess;
}
