#include "kernels/rows/rows.h"

#include "kernels/cpu/takes.h"
#include "kernels/cuda/rows.h"
#include "kernels/rows/versions.h"

namespace gradcache::kernels {

void addColumnSum(const at::Tensor& gradient, const at::Tensor& rows) {
  if (cuda::takesRows(rows) && gradient.scalar_type() == at::kFloat) {
    cuda::addColumnSum(gradient, rows);
  } else {
    composite::addColumnSum(gradient, rows);
  }
}

void addRows(const at::Tensor& table, const at::Tensor& indices, const at::Tensor& rows) {
  if (cuda::takesRows(rows) && table.scalar_type() == at::kFloat) {
    cuda::addRows(table, indices, rows);
  } else if (cpu::takes(table)) {
    cpu::addRows(table, indices, rows.to(table.scalar_type()));
  } else {
    composite::addRows(table, indices, rows);
  }
}

}  // namespace gradcache::kernels
