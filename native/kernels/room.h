// Rows in memory that has room for further columns behind each: what is multiplied together with them lies
// beside them without a copy. Whoever multiplies such rows may write there, so that nothing else may lie
// there: rows that are the first columns of a larger tensor must not be of its very size.
#pragma once

#include <ATen/ATen.h>

namespace gradcache::kernels {

// Uninitialised [tokens, width], with room for so many columns behind each row.
inline at::Tensor emptyRows(int64_t tokens, int64_t width, int64_t room, const at::TensorOptions& options) {
  return at::empty({tokens, width + room}, options).narrow(1, 0, width);
}

// From one row to the next. Of a single row libtorch's own number may mean nothing.
inline int64_t rowStride(const at::Tensor& rows) { return rows.size(0) > 1 ? rows.stride(0) : rows.size(1); }

// [T, width + room]: rows and their room, where that is for so many columns exactly; else undefined.
inline at::Tensor rowsAndRoom(const at::Tensor& rows, int64_t room) {
  const int64_t all = rows.size(1) + room;
  const auto bytes = static_cast<size_t>(rows.size(0) * all) * rows.element_size();
  const bool whole = rows.stride(1) == 1 && rows.stride(0) == all && rows.storage_offset() == 0 &&
                     rows.storage().nbytes() == bytes;
  return whole ? rows.as_strided({rows.size(0), all}, {all, 1}) : at::Tensor();
}

// [T, width + more]: rows with `columns` [T, more] beside them, written into the rows' room where they have
// it.
inline at::Tensor sideBySide(const at::Tensor& rows, const at::Tensor& columns) {
  const at::Tensor both = rowsAndRoom(rows, columns.size(1));
  if (!both.defined()) return at::cat({rows, columns}, 1);
  both.narrow(1, rows.size(1), columns.size(1)).copy_(columns);
  return both;
}

}  // namespace gradcache::kernels
