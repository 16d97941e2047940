#include "binding/rows.h"

#include <algorithm>

#include "binding/errors.h"
#include "binding/tensor.h"
#include "binding/typed_array.h"
#include "core/error.h"

namespace gradcache::binding {

namespace {

// Checked here: a GPU answers a row that is not there with the end of all work on it. Pinned where it goes to
// a GPU, so that JavaScript does not wait for the work before the copy.
at::Tensor indexOf(const Napi::Value& value, const at::Tensor& tensor) {
  const std::vector<int32_t> rows = int32Elements(value, "rows");
  require(tensor.dim() > 0, "SHAPE", "a tensor without dimensions has no rows");
  for (const int32_t row : rows)
    require(row >= 0 && row < tensor.size(0), "INPUT", "row ", row, " is not one of the ", tensor.size(0),
            " rows of the tensor");
  at::Tensor index = at::empty({static_cast<int64_t>(rows.size())},
                               at::TensorOptions().dtype(at::kLong).pinned_memory(tensor.is_cuda()));
  std::copy(rows.begin(), rows.end(), index.mutable_data_ptr<int64_t>());
  return index.to(tensor.device(), /*non_blocking=*/true);
}

}  // namespace

Napi::Value putRows(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    at::Tensor& target = TensorHandle::get(info[0], "the target");
    const at::Tensor& source = TensorHandle::get(info[2], "the source");
    const at::NoGradGuard withoutGraph;
    target.index_copy_(0, indexOf(info[1], target), source);
    return info.Env().Undefined();
  });
}

Napi::Value takeRows(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const at::Tensor& source = TensorHandle::get(info[0], "the source");
    return TensorHandle::wrap(info.Env(), source.index_select(0, indexOf(info[1], source)));
  });
}

}  // namespace gradcache::binding
