// The library of CUDA kernels (native/cuda), opened at run time: the addon itself has no CUDA symbol, and
// the same file serves a libtorch without CUDA.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "cuda/kernels.h"
#include "kernels/cuda/functions.h"

namespace gradcache::kernels::cuda {

// The library's functions.
struct Library {
#define GRADCACHE_MEMBER(name, member) decltype(&name) member = nullptr;
  GRADCACHE_CUDA_FUNCTIONS(GRADCACHE_MEMBER)
#undef GRADCACHE_MEMBER
};

// Opens the library, once for the process; `libtorchCuda` is the path of libtorch_cuda.so, which is already
// loaded and knows the current stream. Throws LIBTORCH_LOAD.
void openLibrary(const std::string& path, const std::string& libtorchCuda);
bool libraryIsOpen();
// Throws CUDA_UNAVAILABLE when no library was opened.
const Library& library();

// The stream that libtorch uses on a device, as a cudaStream_t.
void* currentStream(const at::Device& device);

// Throws OUT_OF_MEMORY, CUDA_UNAVAILABLE or OPERATOR for a cudaError_t that is not success.
void check(int code, const char* what);

}  // namespace gradcache::kernels::cuda
