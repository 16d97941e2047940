// What exponentials.cc chooses from.
#pragma once

#include "kernels/exponentials/exponentials.h"

namespace gradcache::kernels {

namespace cpu {
decltype(kernels::exponentials) exponentials;
decltype(kernels::weighedExponentials) weighedExponentials;
}  // namespace cpu
namespace composite {
decltype(kernels::exponentials) exponentials;
decltype(kernels::weighedExponentials) weighedExponentials;
}  // namespace composite

}  // namespace gradcache::kernels
