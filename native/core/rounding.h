// Stochastic rounding: up or down by chance, so that the mean is the number itself and small updates are not
// lost.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace gradcache {

// Writes each float32 source into the bfloat16 target beside it: to one of the two neighbours, the nearer the
// likelier. The draw follows from the seed, the device and the order of the tensors. Throws DTYPE and SHAPE.
void roundStochastically(const std::vector<at::Tensor>& targets, const std::vector<at::Tensor>& sources,
                         uint64_t seed);

}  // namespace gradcache
