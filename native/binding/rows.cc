#include "binding/rows.h"

#include <algorithm>

#include "binding/errors.h"
#include "binding/tensor.h"
#include "binding/typed_array.h"
#include "core/error.h"

namespace gradcache::binding {

namespace {

// Checked here: a GPU answers a row that is not there with the end of all work on it. Pinned where it goes to
// a GPU, so that nobody waits for the work before the copy.
at::Tensor indexOf(const std::vector<int32_t>& rows, const at::Tensor& tensor) {
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

void putRows(at::Tensor& target, const std::vector<int32_t>& rows, const at::Tensor& source) {
  const at::NoGradGuard withoutGraph;
  target.index_copy_(0, indexOf(rows, target), source);
}

at::Tensor takeRows(const at::Tensor& source, const std::vector<int32_t>& rows) {
  return source.index_select(0, indexOf(rows, source));
}

Napi::Value putRows(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    at::Tensor& target = TensorHandle::get(info[0], "the target");
    putRows(target, int32Elements(info[1], "rows"), TensorHandle::get(info[2], "the source"));
    return info.Env().Undefined();
  });
}

Napi::Value takeRows(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const at::Tensor& source = TensorHandle::get(info[0], "the source");
    return TensorHandle::wrap(info.Env(), takeRows(source, int32Elements(info[1], "rows")));
  });
}

}  // namespace gradcache::binding
