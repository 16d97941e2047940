// Checks whether a CUDA device can be used. The errors say what was found and what is needed.
#pragma once

#include <string>

namespace gradcache::kernels::cuda {

// Throws CUDA_UNAVAILABLE unless libtorch is a CUDA build that sees a device and the kernels are there.
// `name` is the device as it was asked for.
void requireCuda(const std::string& name);

// Throws CUDA_UNAVAILABLE if the kernels do not run on that device. Asks the driver once for each device.
void requireCapability(const std::string& name, int index);

}  // namespace gradcache::kernels::cuda
