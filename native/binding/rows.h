// Rows of tensors: of a batch, of its representations and of their gradients.
#pragma once

#include <ATen/ATen.h>

#include <napi.h>

#include <cstdint>
#include <vector>

namespace gradcache::binding {

// target[rows[k]] = source[k], without a graph. Throws INPUT for a row that is not there.
void putRows(at::Tensor& target, const std::vector<int32_t>& rows, const at::Tensor& source);
// A copy of these rows.
at::Tensor takeRows(const at::Tensor& source, const std::vector<int32_t>& rows);

// For JavaScript: putRows(target, rows: Int32Array, source) and takeRows(source, rows: Int32Array).
Napi::Value putRows(const Napi::CallbackInfo& info);
Napi::Value takeRows(const Napi::CallbackInfo& info);

}  // namespace gradcache::binding
