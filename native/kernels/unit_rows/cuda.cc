#include "kernels/cuda/rows.h"
#include "kernels/unit_rows/versions.h"

namespace gradcache::kernels::cuda {

bool takesUnitRows(const at::Tensor& rows) {
  return rows.is_cuda() && rows.scalar_type() == at::kFloat && rows.stride(1) == 1 && libraryIsOpen();
}

void writeOperand(const at::Tensor& rows, const at::Tensor& factors, double scale, Parts parts,
                  at::Tensor operand) {
  check(library().scoresOperand(operand.scalar_type() == at::kHalf ? GRADCACHE_FLOAT16 : GRADCACHE_BFLOAT16,
                                rows.const_data_ptr<float>(), rows.size(0), rows.size(1), rows.stride(0),
                                factors.defined() ? factors.const_data_ptr<float>() : nullptr,
                                static_cast<float>(scale), static_cast<int32_t>(parts), output(operand),
                                currentStream(rows.device())),
        "rows in half precision");
}

void unitGradient(const at::Tensor& rows, const at::Tensor& factors, double weight, at::Tensor gradient) {
  check(library().unitGradient(rows.const_data_ptr<float>(), rows.size(0), rows.size(1), rows.stride(0),
                               factors.const_data_ptr<float>(), static_cast<float>(weight), floats(gradient),
                               gradient.stride(0), currentStream(rows.device())),
        "gradients of rows of length 1");
}

}  // namespace gradcache::kernels::cuda
