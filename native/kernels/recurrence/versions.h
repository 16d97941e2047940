// What recurrence.cc chooses from.
#pragma once

#include "kernels/recurrence/recurrence.h"

namespace gradcache::kernels {

namespace composite {
decltype(kernels::recurrence) recurrence;
decltype(kernels::recurrenceBackward) recurrenceBackward;
}  // namespace composite

}  // namespace gradcache::kernels
