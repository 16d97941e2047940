#include "kernels/cuda/devices.h"

#include <ATen/Context.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <fstream>

#include "core/error.h"
#include "kernels/cuda/advice.h"
#include "kernels/cuda/library.h"

namespace gradcache::kernels::cuda {

namespace {

constexpr int kLeastMajor = 8;  // the kernels' first generation: Ampere, the first with bfloat16

template <class... Parts>
[[noreturn]] void unavailable(const std::string& name, const Parts&... parts) {
  fail("CUDA_UNAVAILABLE", "Device '", name, "' cannot be used: ", parts...,
       ". To see everything that was found: npx gradcache doctor --device ", name);
}

std::string cudaVersion(int number) { return c10::str(number / 1000, ".", number % 1000 / 10); }

std::string visibleDevices() {
  const char* value = std::getenv("CUDA_VISIBLE_DEVICES");
  return value == nullptr ? "is not set" : c10::str("is '", value, "'");
}

// The driver's own version, such as 580.95.05, or nothing where no driver is loaded.
std::string driverRelease() {
  std::ifstream file("/proc/driver/nvidia/version");
  std::string word;
  while (file >> word) {
    if (word.find_first_not_of("0123456789.") == std::string::npos && word.find('.') != std::string::npos) {
      return word;
    }
  }
  return "";
}

// libtorch sees no device: why?
[[noreturn]] void explain(const std::string& name) {
  int driver = 0, built = 0, devices = 0;
  const int code = library().driver(&driver, &built, &devices);
  const std::string release = driverRelease();
  const std::string found = release.empty() ? "the NVIDIA driver" : "NVIDIA driver " + release;
  if (driver == 0 && release.empty()) {
    unavailable(name,
                "this machine has no NVIDIA driver. Install one, or in a container give it the GPU "
                "(docker run --gpus all)");
  }
  if (driver == 0) {
    unavailable(name, found,
                " is loaded, but its library libcuda.so.1 is not found. In a container, give it the "
                "GPU (docker run --gpus all)");
  }
  if (driver / 1000 < built / 1000) {
    unavailable(name, found, " serves CUDA up to ", cudaVersion(driver), ", the kernels need ",
                cudaVersion(built / 1000 * 1000), ": update the driver");
  }
  if (code == 0 && devices > 0) {
    unavailable(name, found, " shows ", devices,
                " device(s), but this libtorch can use none: it may need a newer "
                "driver than one for CUDA ",
                cudaVersion(driver));
  }
  if (const char* advice = adviceForDevice(library().error(code))) {
    unavailable(name, found, " says: ", library().error(code), ". ", advice);
  }
  unavailable(name, found, " shows no device (", library().error(code), "); CUDA_VISIBLE_DEVICES ",
              visibleDevices());
}

}  // namespace

void requireCuda(const std::string& name) {
  if (!c10::impl::hasDeviceGuardImpl(c10::DeviceType::CUDA)) {
    unavailable(name,
                "this libtorch is a build without CUDA. Set GRADCACHE_LIBTORCH to a CUDA build, or install "
                "one with npx gradcache setup --version <version>+cu130");
  }
  if (!libraryIsOpen()) {
    unavailable(name,
                "the library of CUDA kernels (prebuilds/cuda/linux-x64/libgradcache_cuda.so) is not in this "
                "package. Install gradcache anew, or in a checkout: npm run prebuild -- --only cuda");
  }
  if (!at::globalContext().hasCUDA()) explain(name);
}

void requireCapability(const std::string& name, int index) {
  static std::array<std::atomic<bool>, 64> checked{};
  const bool remembered = index < static_cast<int>(checked.size());
  if (remembered && checked[index].load(std::memory_order_relaxed)) return;
  int major = 0, minor = 0;
  char card[256] = "";
  const int code = library().device(index, &major, &minor, card, sizeof card);
  if (code != 0) {
    const char* advice = adviceForDevice(library().error(code));
    unavailable(name, library().error(code), advice == nullptr ? "" : ". ", advice == nullptr ? "" : advice);
  }
  if (major < kLeastMajor) {
    unavailable(name, "the ", card, " has compute capability ", major, ".", minor, ", the kernels need ",
                kLeastMajor, ".0 or later (A100, RTX 30 or newer). Name another device, or 'cpu'");
  }
  if (remembered) checked[index].store(true, std::memory_order_relaxed);
}

}  // namespace gradcache::kernels::cuda
