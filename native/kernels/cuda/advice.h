// What a person can do about a CUDA device that does not work.
#pragma once

#include <string>

namespace gradcache::kernels::cuda {

// What to do if this CUDA error means that the device cannot be used (because it is busy, for example) rather
// than that a computation failed; null for any other message.
const char* adviceForDevice(const std::string& message);

}  // namespace gradcache::kernels::cuda
