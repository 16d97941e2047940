// What unit_rows.cc chooses from.
#pragma once

#include "kernels/unit_rows/unit_rows.h"

namespace gradcache::kernels {

namespace cuda {
bool takesUnitRows(const at::Tensor& rows);
decltype(kernels::writeOperand) writeOperand;
decltype(kernels::unitGradient) unitGradient;
}  // namespace cuda
namespace composite {
decltype(kernels::writeOperand) writeOperand;
decltype(kernels::unitGradient) unitGradient;
}  // namespace composite

}  // namespace gradcache::kernels
