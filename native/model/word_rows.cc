#include "model/word_rows.h"

#include "kernels/rows/rows.h"

namespace gradcache {

namespace {

// Adds to a gradient that is of rows, in the type of gradients. Every row is summed token by token, as in a
// dense gradient.
void addByRows(const at::Tensor& table, const at::Tensor& ids, const at::Tensor& rows, at::ScalarType wide) {
  if (ids.numel() == 0) return;
  at::Tensor& gradient = table.mutable_grad();
  const bool first = !gradient.defined();
  const int64_t known = first ? 0 : gradient._values().size(0);
  const auto [all, places, counts] =
      at::_unique2(first ? ids : at::cat({gradient._indices().select(0, 0), ids}), /*sorted=*/true,
                   /*return_inverse=*/true);
  const at::Tensor added = places.narrow(0, known, ids.numel());
  if (!first && all.numel() == known) {
    kernels::addRows(gradient._values(), added, rows);
    return;
  }
  const at::Tensor values = at::zeros({all.numel(), table.size(1)}, table.options().dtype(wide));
  if (!first) values.index_copy_(0, places.narrow(0, 0, known), gradient._values());
  kernels::addRows(values, added, rows);
  gradient = at::_sparse_coo_tensor_unsafe(all.unsqueeze(0), values, table.sizes())._coalesced_(true);
}

}  // namespace

bool hasWordGradient(const Pass& pass, ParameterId words) {
  return pass.gradient(words).defined() || pass.parameters->isByRows(words);
}

void addWordRows(const Pass& pass, ParameterId words, const at::Tensor& rows) {
  if (pass.parameters->isByRows(words)) {
    const at::NoGradGuard withoutGraph;
    const at::Tensor& table = pass.parameters->leaf(words);
    if (!pass.tokens.padding.defined()) return addByRows(table, pass.tokens.ids, rows, pass.wideType());
    const at::Tensor kept = pass.tokens.padding.squeeze(1).logical_not().nonzero().squeeze(1);
    return addByRows(table, pass.tokens.ids.index_select(0, kept), rows.index_select(0, kept),
                     pass.wideType());
  }
  const at::Tensor& gradient = pass.gradient(words);
  if (gradient.defined()) kernels::addRows(gradient, pass.tokens.ids, withoutPadding(pass, rows));
}

at::Tensor withoutPadding(const Pass& pass, const at::Tensor& rows) {
  return pass.tokens.padding.defined() ? rows.masked_fill(pass.tokens.padding, 0) : rows;
}

}  // namespace gradcache
