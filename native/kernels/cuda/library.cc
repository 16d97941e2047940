#include "kernels/cuda/library.h"

#include <dlfcn.h>

#include <mutex>

#include "core/error.h"
#include "kernels/cuda/advice.h"

namespace gradcache::kernels::cuda {

namespace {

using CurrentStream = int32_t (*)(int32_t device, void** stream);  // of libtorch's stable C interface

struct Opened {
  std::mutex mutex;
  bool done = false;
  Library functions;
  CurrentStream currentStream = nullptr;
};

// One for the process, like the library itself; written once under its mutex before anything reads it.
Opened& opened() {
  static Opened instance;
  return instance;
}

void* openFile(const std::string& path, int flags) {
  void* handle = dlopen(path.c_str(), flags);
  if (handle == nullptr) fail("LIBTORCH_LOAD", path, " does not open: ", dlerror());
  return handle;
}

template <class Function>
void find(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
  require(function != nullptr, "LIBTORCH_LOAD", "the library of CUDA kernels has no function ", name);
}

}  // namespace

void openLibrary(const std::string& path, const std::string& libtorchCuda) {
  Opened& all = opened();
  std::lock_guard<std::mutex> lock(all.mutex);
  if (all.done) return;
  find(openFile(libtorchCuda, RTLD_NOW | RTLD_NOLOAD), "aoti_torch_get_current_cuda_stream",
       all.currentStream);
  void* handle = openFile(path, RTLD_NOW | RTLD_LOCAL);
  decltype(&gradcache_cuda_abi) abi = nullptr;
  find(handle, "gradcache_cuda_abi", abi);
  require(abi() == GRADCACHE_CUDA_ABI, "LIBTORCH_LOAD", path, " has version ", abi(),
          " of the kernels' interface, the addon needs ", GRADCACHE_CUDA_ABI, ": build both anew");
#define GRADCACHE_FIND(name, member) find(handle, #name, all.functions.member);
  GRADCACHE_CUDA_FUNCTIONS(GRADCACHE_FIND)
#undef GRADCACHE_FIND
  all.done = true;
}

bool libraryIsOpen() { return opened().done; }

const Library& library() {
  require(opened().done, "CUDA_UNAVAILABLE", "the library of CUDA kernels is not loaded");
  return opened().functions;
}

void* currentStream(const at::Device& device) {
  void* stream = nullptr;
  require(opened().currentStream(device.index(), &stream) == 0, "OPERATOR",
          "libtorch has no current stream on ", device);
  return stream;
}

void check(int code, const char* what) {
  if (code == 0) return;
  constexpr int kMemoryAllocation = 2;
  const std::string message = c10::str("CUDA kernel ", what, ": ", opened().functions.error(code));
  if (const char* advice = adviceForDevice(message)) fail("CUDA_UNAVAILABLE", message, ". ", advice);
  fail(code == kMemoryAllocation ? "OUT_OF_MEMORY" : "OPERATOR", message);
}

}  // namespace gradcache::kernels::cuda
