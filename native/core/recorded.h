// A hand-written backward as one node of libtorch's autograd graph.
#pragma once

#include <ATen/ATen.h>

#include <functional>

namespace gradcache {

// Gives `output` a gradient function: from dL/d(output), `backward` returns dL/d(input), and it may add to
// parameter gradients. An undefined `input` ends the graph. The captures of `backward` are freed as soon as
// it has run; running it twice throws. It multiplies as the thread that records it (ProductScope).
at::Tensor record(at::Tensor output, const at::Tensor& input,
                  std::function<at::Tensor(const at::Tensor&)> backward);

}  // namespace gradcache
