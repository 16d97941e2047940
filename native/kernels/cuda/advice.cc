#include "kernels/cuda/advice.h"

#include <array>
#include <utility>

namespace gradcache::kernels::cuda {

const char* adviceForDevice(const std::string& message) {
  static constexpr std::array<std::pair<const char*, const char*>, 8> kAdvice{{
      {"busy or unavailable",
       "Another process holds the device for itself (nvidia-smi shows which), or it is out of order: end "
       "that "
       "process, or name another device"},
      {"driver version is insufficient", "Update the NVIDIA driver, or use a libtorch for an older CUDA"},
      {"no CUDA-capable device",
       "Look at CUDA_VISIBLE_DEVICES; in a container, give it the GPU (docker run --gpus all)"},
      {"no kernel image is available",
       "Nothing in this libtorch or in gradcache's kernels was compiled for this device: they need compute "
       "capability 8.0 or later"},
      {"PTX was compiled with an unsupported toolchain",
       "Update the NVIDIA driver: the device is newer than it"},
      {"system not yet initialized", "The machine's NVSwitch is not ready: start nvidia-fabricmanager"},
      {"unsupported display driver / cuda driver combination",
       "The driver's kernel module and its libcuda.so.1 are of different versions: restart the machine"},
      {"forward compatibility was attempted on non supported HW",
       "A compatibility libcuda.so.1 is in the way: take it off LD_LIBRARY_PATH, or update the driver"},
  }};
  for (const auto& [words, advice] : kAdvice) {
    if (message.find(words) != std::string::npos) return advice;
  }
  return nullptr;
}

}  // namespace gradcache::kernels::cuda
