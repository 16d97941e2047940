#include "blocks/disentangled.h"

#include <utility>

#include "kernels/dropout/dropout.h"
#include "kernels/rows/rows.h"

namespace gradcache {

namespace {

// Adds to the gradients of a product of `rows`, and gives that of its input added to dx.
at::Tensor throughProduct(const Linear& product, at::Tensor dx, const at::Tensor& dy, const at::Tensor& rows,
                          const Pass& pass) {
  product.addWeightGradient(dy, rows, pass);
  if (const at::Tensor bias = product.biasGradient(pass); bias.defined()) kernels::addColumnSum(bias, dy);
  return product.addInputGradient(std::move(dx), dy, pass);
}

}  // namespace

Disentangled::Disentangled(const Options& options, const kernels::AttentionForm& form, Builder& builder)
    : options_(options), form_(form), dropout_(builder.dropout(options.dropout)) {
  const int64_t in = options.vectors->width(), out = form.heads * form.size;
  if (!options.keyProduct.empty())
    keyProduct_.emplace(builder.parameters, std::vector{options.keyProduct}, in, out);
  if (!options.queryProduct.empty())
    queryProduct_.emplace(builder.parameters, std::vector{options.queryProduct}, in, out);
}

at::Tensor Disentangled::dropped(const Pass& pass) const {
  return kernels::dropout(options_.vectors->rows(pass), dropout_.key(pass));
}

kernels::DistanceVectors Disentangled::projected(const at::Tensor& rows, const Linear& content,
                                                 const Pass& pass) const {
  kernels::DistanceVectors vectors{{}, {}, options_.vectors->rowOfDistance(pass)};
  if (own()) {
    if (keyProduct_) vectors.keys = keyProduct_->forward(rows, pass);
    if (queryProduct_) vectors.queries = queryProduct_->forward(rows, pass);
    return vectors;
  }
  const at::Tensor all = content.forward(rows, pass);
  const int64_t width = form_.heads * form_.size;
  if (options_.queries) vectors.queries = all.narrow(1, 0, width);
  if (options_.keys) vectors.keys = all.narrow(1, width, width);
  return vectors;
}

at::Tensor Disentangled::forward(const at::Tensor& qkv, const Linear& content, const Pass& pass,
                                 const DropoutKey& key) const {
  return kernels::disentangledAttention(qkv, projected(dropped(pass), content, pass), pass.sequences(), form_,
                                        key);
}

at::Tensor Disentangled::backward(const at::Tensor& dout, const at::Tensor& qkv, const Linear& content,
                                  const Pass& pass, const DropoutKey& key) const {
  const at::Tensor rows = dropped(pass);
  kernels::DisentangledGradients gradients = kernels::disentangledAttentionBackward(
      dout, qkv, projected(rows, content, pass), pass.sequences(), form_, key);
  at::Tensor drows;
  if (own()) {
    if (keyProduct_) drows = throughProduct(*keyProduct_, drows, gradients.keys, rows, pass);
    if (queryProduct_) drows = throughProduct(*queryProduct_, drows, gradients.queries, rows, pass);
  } else {
    // The product for values has no part in it.
    const at::Tensor like = gradients.keys.defined() ? gradients.keys : gradients.queries;
    const auto orZeros = [&](const at::Tensor& part) { return part.defined() ? part : at::zeros_like(like); };
    const at::Tensor all =
        at::cat({orZeros(gradients.queries), orZeros(gradients.keys), at::zeros_like(like)}, 1);
    drows = throughProduct(content, {}, all, rows, pass);
  }
  options_.vectors->addGradient(kernels::dropout(drows, dropout_.key(pass)), pass);
  return std::move(gradients.qkv);
}

}  // namespace gradcache
