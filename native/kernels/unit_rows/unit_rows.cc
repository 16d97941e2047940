#include "kernels/unit_rows/unit_rows.h"

#include "kernels/unit_rows/versions.h"

namespace gradcache::kernels {

void writeOperand(const at::Tensor& rows, const at::Tensor& factors, double scale, Parts parts,
                  at::Tensor operand) {
  cuda::takesUnitRows(rows) ? cuda::writeOperand(rows, factors, scale, parts, operand)
                            : composite::writeOperand(rows, factors, scale, parts, operand);
}

void unitGradient(const at::Tensor& rows, const at::Tensor& factors, double weight, at::Tensor gradient) {
  cuda::takesUnitRows(rows) && gradient.stride(1) == 1
      ? cuda::unitGradient(rows, factors, weight, gradient)
      : composite::unitGradient(rows, factors, weight, gradient);
}

}  // namespace gradcache::kernels
