// Queries, keys and values of all heads as attention reads them.
#pragma once

#include <ATen/ATen.h>

namespace gradcache::kernels {

// Views: a row's numbers lie side by side, its rows may lie apart.
struct HeadRows {
  at::Tensor queriesKeys;  // [T, (heads + keyHeads) * size]
  at::Tensor values;       // [T, keyHeads * size]

  // Of qkv [T, (heads + 2 * keyHeads) * size], the last `valueColumns` of which are values.
  static HeadRows in(const at::Tensor& qkv, int64_t valueColumns) {
    const int64_t before = qkv.size(1) - valueColumns;
    return {qkv.narrow(1, 0, before), qkv.narrow(1, before, valueColumns)};
  }
  // All in one tensor, without a copy where they came from one.
  at::Tensor joined() const {
    const int64_t before = queriesKeys.size(1), all = before + values.size(1);
    const bool one = values.is_alias_of(queriesKeys) && queriesKeys.stride(0) == all &&
                     values.stride(0) == all &&
                     values.storage_offset() == queriesKeys.storage_offset() + before;
    return one ? queriesKeys.as_strided({queriesKeys.size(0), all}, {all, 1})
               : at::cat({queriesKeys, values}, 1);
  }
};

}  // namespace gradcache::kernels
