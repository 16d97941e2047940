// What a person can do about a CUDA device that does not work.
#pragma once

#include <string>

namespace gradcache::kernels::cuda {

// What to do about a CUDA error, known by its words, that says that the device cannot be used (busy, say) and
// not that a computation on it failed; null for any other message.
const char* adviceForDevice(const std::string& message);

}  // namespace gradcache::kernels::cuda
