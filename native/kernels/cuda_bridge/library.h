// The library of CUDA kernels (kernels/cuda), opened at run time: the addon itself has no CUDA symbol, and
// the same file serves a libtorch without CUDA.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "kernels/cuda/kernels.h"

namespace gradcache::kernels::cuda {

// The library's functions, by the names of kernels/cuda/kernels.h without their prefix.
struct Library {
  decltype(&gradcache_cuda_error) error = nullptr;
  decltype(&gradcache_cuda_driver) driver = nullptr;
  decltype(&gradcache_cuda_device) device = nullptr;
  decltype(&gradcache_dropout) dropout = nullptr;
  decltype(&gradcache_norm_forward) normForward = nullptr;
  decltype(&gradcache_norm_backward_scratch) normBackwardScratch = nullptr;
  decltype(&gradcache_norm_backward) normBackward = nullptr;
  decltype(&gradcache_embedding_forward) embeddingForward = nullptr;
  decltype(&gradcache_embedding_backward) embeddingBackward = nullptr;
  decltype(&gradcache_add_rows_scratch) addRowsScratch = nullptr;
  decltype(&gradcache_add_rows) addRows = nullptr;
  decltype(&gradcache_activation_forward) activationForward = nullptr;
  decltype(&gradcache_activation_backward_scratch) activationBackwardScratch = nullptr;
  decltype(&gradcache_activation_backward) activationBackward = nullptr;
  decltype(&gradcache_column_sum_scratch) columnSumScratch = nullptr;
  decltype(&gradcache_column_sum) columnSum = nullptr;
  decltype(&gradcache_pool_forward) poolForward = nullptr;
  decltype(&gradcache_pool_backward) poolBackward = nullptr;
  decltype(&gradcache_attention_longest) attentionLongest = nullptr;
  decltype(&gradcache_attention_forward) attentionForward = nullptr;
  decltype(&gradcache_attention_backward) attentionBackward = nullptr;
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
