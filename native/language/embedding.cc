#include "language/embedding.h"

#include <utility>

#include "kernels/dropout/dropout.h"
#include "kernels/rows/rows.h"
#include "model/products.h"

namespace gradcache {

Embedding::Embedding(std::vector<Cluster> clusters, WordMatrices matrices, int64_t width,
                     const Settings& settings, Builder& builder)
    : clusters_(std::move(clusters)),
      matrices_(std::move(matrices)),
      width_(width),
      wordDropout_(builder.dropout(settings.number("wordDropout"))),
      inputDropout_(settings.number("inputDropout"), settings.truth("sharedMasks"), builder) {}

at::Tensor Embedding::dropWords(const at::Tensor& vectors, size_t cluster, const at::Tensor& words,
                                const Pass& pass) const {
  const DropoutKey key = wordDropout_.key(pass);
  if (!key.active()) return vectors;
  const at::Tensor kept =
      kernels::dropoutOfRows(at::ones({words.size(0), 1}, vectors.options()),
                             clusters_[cluster].first == 0 ? words : words + clusters_[cluster].first, key);
  return vectors * kept;
}

at::Tensor Embedding::vectors(size_t cluster, const at::Tensor& words, const Pass& pass) const {
  return dropWords(pass.weight(matrices_.vectors[cluster]).index_select(0, words), cluster, words, pass);
}

at::Tensor Embedding::forward(const ClusteredIds& ids, const Pass& pass) const {
  at::Tensor rows;
  for (size_t k = 0; k < clusters_.size(); ++k) {
    const ClusteredIds::Part& part = ids.clusters[k];
    if (part.empty()) continue;
    at::Tensor y = vectors(k, part.words, pass);
    if (const auto& projection = matrices_.projections[k]) y = at::mm(y, pass.weight(*projection).t());
    if (!part.rows.defined()) {
      rows = std::move(y);
      break;
    }
    if (!rows.defined()) rows = at::empty({pass.tokens.tokens(), width_}, y.options());
    rows.index_copy_(0, part.rows, y);
  }
  return inputDropout_.apply(rows, pass);
}

void Embedding::backward(const at::Tensor& dy, const ClusteredIds& ids, const Pass& pass) const {
  const at::Tensor drows = inputDropout_.apply(dy, pass);
  for (size_t k = 0; k < clusters_.size(); ++k) {
    const ClusteredIds::Part& part = ids.clusters[k];
    if (part.empty()) continue;
    at::Tensor gradient = rowsOf(drows, part);
    if (const auto& projection = matrices_.projections[k]) {
      addProduct(pass.gradient(*projection), gradient, vectors(k, part.words, pass));
      gradient = at::mm(gradient, pass.weight(*projection));
    }
    kernels::addRows(pass.gradient(matrices_.vectors[k]), part.words,
                     dropWords(gradient, k, part.words, pass));
  }
}

}  // namespace gradcache
