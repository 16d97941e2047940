#include "kernels/cuda/rows.h"
#include "kernels/rows/versions.h"

namespace gradcache::kernels::cuda {

void addRows(const at::Tensor& table, const at::Tensor& indices, const at::Tensor& x) {
  at::Tensor contiguous = x.contiguous();
  auto [sorted, order] = at::sort(indices, std::optional<bool>(true), /*dim=*/0, /*descending=*/false);
  const GradcacheRows rows = describe(contiguous);
  at::Tensor work = scratch(library().addRowsScratch(&rows), contiguous);
  check(library().addRows(&rows, input(contiguous), sorted.const_data_ptr<int64_t>(),
                          order.const_data_ptr<int64_t>(), floats(table), output(work)),
        "add rows");
}

void addColumnSum(const at::Tensor& gradient, const at::Tensor& x) {
  at::Tensor contiguous = x.contiguous();
  const GradcacheRows rows = describe(contiguous);
  at::Tensor work = scratch(library().columnSumScratch(&rows), contiguous);
  check(library().columnSum(&rows, input(contiguous), floats(gradient), output(work)), "column sum");
}

}  // namespace gradcache::kernels::cuda
