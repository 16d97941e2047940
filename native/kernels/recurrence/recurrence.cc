#include "kernels/recurrence/recurrence.h"

#include "core/error.h"
#include "kernels/cpu/takes.h"
#include "kernels/recurrence/versions.h"

namespace gradcache::kernels {

Direction directionNamed(std::string_view name) {
  if (name == "forward") return Direction::kForward;
  if (name == "reverse") return Direction::kReverse;
  if (name == "both") return Direction::kBoth;
  fail("INPUT", "direction '", name, "' is unknown; use forward, reverse or both");
}

Recurrence recurrence(const RecurrenceInputs& inputs, const Sequences& sequences,
                      const RecurrenceOptions& options, bool save) {
  if (cuda::takesRecurrence(inputs.u, options)) return cuda::recurrence(inputs, sequences, options, save);
  return cpu::takes(inputs.u) ? cpu::recurrence(inputs, sequences, options, save)
                              : composite::recurrence(inputs, sequences, options, save);
}

RecurrenceGradients recurrenceBackward(const at::Tensor& dh, const at::Tensor& dlast,
                                       const RecurrenceInputs& inputs, const Recurrence& saved,
                                       const Sequences& sequences, const RecurrenceOptions& options,
                                       const at::Tensor& cellWeightsGradient,
                                       const at::Tensor& biasGradient) {
  const auto run = cuda::takesRecurrence(inputs.u, options) ? cuda::recurrenceBackward
                   : cpu::takes(inputs.u)                   ? cpu::recurrenceBackward
                                                            : composite::recurrenceBackward;
  return run(dh, dlast, inputs, saved, sequences, options, cellWeightsGradient, biasGradient);
}

}  // namespace gradcache::kernels
