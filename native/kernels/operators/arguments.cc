#include "kernels/operators/arguments.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/error.h"

namespace gradcache::kernels {

namespace {

// Requires an ordinary strided tensor with memory.
void requireDense(const char* name, const at::Tensor& tensor) {
  require(tensor.defined(), "INPUT", name, " is no tensor");
  require(tensor.layout() == at::kStrided && !tensor.is_nested(), "INPUT", name,
          " must be a dense tensor: convert it with aten::to_dense");
  require(tensor.is_cpu() || tensor.is_cuda(), "DEVICE", name, " is on ", tensor.device(),
          ", the operator runs on cpu and cuda");
}

bool isComputed(at::ScalarType type) {
  return type == at::kFloat || type == at::kDouble || type == at::kBFloat16 || type == at::kHalf;
}

void requireMatrix(const char* name, const at::Tensor& tensor) {
  requireDense(name, tensor);
  require(isComputed(tensor.scalar_type()), "DTYPE", name, " has type ", tensor.scalar_type(),
          ", it must be float64, float32, float16 or bfloat16");
  require(tensor.dim() == 2 && tensor.size(0) > 0 && tensor.size(1) > 0, "SHAPE", name, " has shape ",
          tensor.sizes(), ", it must be [T, H] with at least one row and one column");
}

void requireDevice(const char* name, const at::Tensor& tensor, const at::Tensor& rows) {
  require(tensor.device() == rows.device(), "DEVICE", name, " is on ", tensor.device(), ", the rows are on ",
          rows.device(), ": all must be on the same device");
}

void requireParameter(const char* name, const at::Tensor& tensor, const at::Tensor& rows,
                      at::IntArrayRef shape) {
  requireDense(name, tensor);
  requireDevice(name, tensor, rows);
  require(tensor.scalar_type() == rows.scalar_type() || tensor.scalar_type() == wideType(rows), "DTYPE", name,
          " has type ", tensor.scalar_type(), ", beside ", rows.scalar_type(), " it must be ",
          rows.scalar_type(), " or ", wideType(rows));
  require(tensor.sizes() == shape, "SHAPE", name, " has shape ", tensor.sizes(), ", it must be ", shape);
}

}  // namespace

at::ScalarType wideType(const at::Tensor& rows) {
  return rows.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

at::Tensor readable(const at::Tensor& tensor) {
  // Lazy views (negated, conjugated or all zero) do not have their values in memory.
  at::Tensor result = tensor._is_zerotensor() ? at::zeros(tensor.sizes(), tensor.options())
                                              : tensor.resolve_neg().contiguous();
  constexpr uintptr_t kVector = 16;  // bytes of a vector load
  if (result.is_cuda() && reinterpret_cast<uintptr_t>(result.const_data_ptr()) % kVector != 0)
    result = result.clone();
  return result;
}

at::Tensor rowsArgument(const char* name, const at::Tensor& tensor) {
  requireMatrix(name, tensor);
  return readable(tensor);
}

at::Tensor likeRows(const char* name, const at::Tensor& tensor, const at::Tensor& rows) {
  requireDense(name, tensor);
  requireDevice(name, tensor, rows);
  require(tensor.scalar_type() == rows.scalar_type(), "DTYPE", name, " has type ", tensor.scalar_type(),
          ", the rows have type ", rows.scalar_type(), ": convert one of them");
  require(tensor.sizes() == rows.sizes(), "SHAPE", name, " has shape ", tensor.sizes(), ", the rows have ",
          rows.sizes());
  return readable(tensor);
}

at::Tensor parameterArgument(const char* name, const at::Tensor& tensor, const at::Tensor& rows,
                             at::IntArrayRef shape) {
  requireParameter(name, tensor, rows, shape);
  return readable(tensor.to(rows.scalar_type()));
}

at::Tensor parameterArgument(const char* name, const std::optional<at::Tensor>& tensor,
                             const at::Tensor& rows, at::IntArrayRef shape) {
  return tensor.has_value() && tensor->defined() ? parameterArgument(name, *tensor, rows, shape)
                                                 : at::Tensor();
}

at::Tensor wideArgument(const char* name, const std::optional<at::Tensor>& tensor, const at::Tensor& rows,
                        at::IntArrayRef shape) {
  if (!tensor.has_value() || !tensor->defined()) return {};
  requireParameter(name, *tensor, rows, shape);
  return readable(tensor->to(wideType(rows)));
}

NormWeights normWeights(const at::Tensor& scale, const at::Tensor& shift, double epsilon,
                        const at::Tensor& rows) {
  require(std::isfinite(epsilon) && epsilon >= 0, "INPUT", "epsilon = ", epsilon,
          " must be a finite number of at least 0");
  return {parameterArgument("scale", scale, rows, {rows.size(1)}),
          shift.defined() ? parameterArgument("shift", shift, rows, {rows.size(1)}) : at::Tensor(), epsilon};
}

at::Tensor indicesArgument(const char* name, const at::Tensor& indices, const at::Tensor& table,
                           int64_t count) {
  requireDense(name, indices);
  requireDevice(name, indices, table);
  require(indices.scalar_type() == at::kLong || indices.scalar_type() == at::kInt, "DTYPE", name,
          " has type ", indices.scalar_type(), ", it must be int64 or int32");
  require(indices.dim() == 1 && indices.size(0) == count && count > 0, "SHAPE", name, " has shape ",
          indices.sizes(), ", it must be [T], one for each token, with at least one token");
  at::Tensor result = readable(indices.to(at::kLong));
  auto [least, most] = at::aminmax(result);
  if (result.is_cpu()) {
    const int64_t low = least.item<int64_t>(), high = most.item<int64_t>();
    require(low >= 0 && high < table.size(0), "INPUT", name, " holds ", low < 0 ? low : high,
            ", the table has rows 0 to ", table.size(0) - 1);
  } else {
    at::_assert_async(least.ge(0).logical_and(most.lt(table.size(0))));
  }
  return result;
}

DropoutKey DropoutArgument::key() const {
  require(DropoutKey::possible(probability), "INPUT", "the share dropped, p = ", probability,
          ", must be at least 0 and below 1");
  return DropoutKey::make(probability, static_cast<uint64_t>(seed), static_cast<uint64_t>(site));
}

SequencesArgument::SequencesArgument(at::IntArrayRef offsets, const at::Tensor& rows)
    : offsets_(offsets.vec()) {
  require(rows.size(0) <= std::numeric_limits<int32_t>::max(), "SHAPE", rows.size(0),
          " tokens are more than 32 bits count");
  require(offsets_.size() >= 2 && offsets_.front() == 0 && offsets_.back() == rows.size(0), "SHAPE",
          "offsets must begin with 0 and end with the number of tokens, ", rows.size(0));
  for (size_t s = 1; s < offsets_.size(); ++s) {
    require(offsets_[s] > offsets_[s - 1], "SHAPE", "offsets must rise: number ", s, " is ", offsets_[s],
            " after ", offsets_[s - 1]);
  }
  measure();
  deviceOffsets_ = at::tensor(at::ArrayRef<int64_t>(offsets_), at::kInt).to(rows.device());
}

SequencesArgument::SequencesArgument(std::vector<int64_t> offsets, at::Tensor deviceOffsets)
    : offsets_(std::move(offsets)), deviceOffsets_(std::move(deviceOffsets)) {
  measure();
}

void SequencesArgument::attendTo(at::IntArrayRef counts) {
  require(counts.size() + 1 == offsets_.size(), "SHAPE", "keys has ", counts.size(), " numbers for ",
          offsets_.size() - 1, " sequences");
  for (size_t s = 0; s < counts.size(); ++s) {
    require(counts[s] >= 1 && counts[s] <= offsets_[s + 1] - offsets_[s], "SHAPE", "of the ",
            offsets_[s + 1] - offsets_[s], " tokens of sequence ", s, ", ", counts[s],
            " are to be attended to; from 1 to all are possible");
    keyEnds_.push_back(offsets_[s] + counts[s]);
  }
  deviceKeyEnds_ = at::tensor(at::ArrayRef<int64_t>(keyEnds_), at::kLong).to(deviceOffsets_.device());
}

void SequencesArgument::measure() {
  for (size_t s = 1; s < offsets_.size(); ++s) longest_ = std::max(longest_, offsets_[s] - offsets_[s - 1]);
}

}  // namespace gradcache::kernels
