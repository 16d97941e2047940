#include <algorithm>

#include "kernels/unit_rows/versions.h"

namespace gradcache::kernels::composite {

namespace {

// Rows that are taken at once. A GPU has more to do than to start operators.
int64_t sliceOf(const at::Tensor& rows) { return rows.is_cpu() ? 512 : 8192; }

}  // namespace

void writeOperand(const at::Tensor& rows, const at::Tensor& factors, double scale, Parts parts,
                  at::Tensor operand) {
  const int64_t count = rows.size(0), width = rows.size(1);
  const int64_t padded = operand.size(1) / (parts == Parts::kWhole ? 1 : 3);
  for (int64_t at = 0; padded > width && at < operand.size(1); at += padded)
    operand.narrow(1, at + width, padded - width).zero_();
  const int64_t slice = sliceOf(rows);
  for (int64_t begin = 0; begin < count; begin += slice) {
    const int64_t some = std::min(slice, count - begin);
    at::Tensor scaled = rows.narrow(0, begin, some).mul(scale);
    if (factors.defined()) scaled.mul_(factors.narrow(0, begin, some));
    const auto part = [&](int64_t number) {
      return operand.narrow(0, begin, some).narrow(1, number * padded, width);
    };
    if (parts == Parts::kWhole) {
      part(0).copy_(scaled);
      continue;
    }
    const int64_t low = parts == Parts::kLowHighHigh ? 0 : 1;
    const at::Tensor high = part(1 - low);
    high.copy_(scaled.round());
    part(2).copy_(high);
    part(low).copy_(scaled.sub_(high));
  }
}

void unitGradient(const at::Tensor& rows, const at::Tensor& factors, double weight, at::Tensor gradient) {
  const int64_t slice = sliceOf(rows);
  for (int64_t begin = 0; begin < rows.size(0); begin += slice) {
    const int64_t some = std::min(slice, rows.size(0) - begin);
    const at::Tensor factor = factors.narrow(0, begin, some);
    const at::Tensor direction = rows.narrow(0, begin, some).mul(factor);
    at::Tensor part = gradient.narrow(0, begin, some);
    part.sub_(direction.mul(direction.mul(part).sum({1}, true))).mul_(factor);
    if (weight != 1) part.mul_(weight);
  }
}

}  // namespace gradcache::kernels::composite
