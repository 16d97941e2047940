// A hand-written backward as one node of libtorch's autograd graph.
#pragma once

#include <ATen/ATen.h>

#include <functional>

namespace gradcache {

// Gives `output` a gradient function: when autograd arrives with dL/d(output), `backward` returns
// dL/d(input), and may add parameter gradients where it likes. An undefined `input` ends the graph there.
// What `backward` captured is freed as soon as it has run; running it twice throws.
at::Tensor record(at::Tensor output, const at::Tensor& input,
                  std::function<at::Tensor(const at::Tensor&)> backward);

}  // namespace gradcache
