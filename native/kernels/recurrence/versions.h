// What recurrence.cc chooses from.
#pragma once

#include "kernels/recurrence/recurrence.h"

namespace gradcache::kernels {

namespace cpu {
decltype(kernels::recurrence) recurrence;
decltype(kernels::recurrenceBackward) recurrenceBackward;
}  // namespace cpu
namespace cuda {
// float32 and bfloat16, and directions whose width is a multiple of 8.
bool takesRecurrence(const at::Tensor& u, const RecurrenceOptions& options);
decltype(kernels::recurrence) recurrence;
decltype(kernels::recurrenceBackward) recurrenceBackward;
}  // namespace cuda
namespace composite {
decltype(kernels::recurrence) recurrence;
decltype(kernels::recurrenceBackward) recurrenceBackward;
}  // namespace composite

}  // namespace gradcache::kernels
