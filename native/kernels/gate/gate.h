// Gated activations (Shazeer 2020): one product gives the gate and what it lets through, side by side.
#pragma once

#include "kernels/activation/activation.h"

namespace gradcache::kernels {

enum class GateOrder { kGateFirst, kUpFirst };

// x [T, 2 W] is gate and up in this order, `bias` [2 W] or undefined is added to both: y [T, W] = f(gate) *
// up. `room` is for so many columns behind y (kernels/room.h), which the CUDA version leaves.
at::Tensor gated(const at::Tensor& x, const at::Tensor& bias, Activation kind, GateOrder order,
                 int64_t room = 0);
// dL/dx [T, 2 W], with `room`, and the forward's output again; adds to the gradient of the bias where that is
// defined.
ActivationGradients gatedBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                                  Activation kind, GateOrder order, const at::Tensor& biasGradient,
                                  int64_t room = 0);

}  // namespace gradcache::kernels
