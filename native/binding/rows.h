// Rows of tensors in one call each: every chunk of a step needs them on the JavaScript thread.
#pragma once

#include <napi.h>

namespace gradcache::binding {

// putRows(target, rows: Int32Array, source): target[rows[k]] = source[k], without a graph.
Napi::Value putRows(const Napi::CallbackInfo& info);
// takeRows(source, rows: Int32Array): a copy of these rows.
Napi::Value takeRows(const Napi::CallbackInfo& info);

}  // namespace gradcache::binding
