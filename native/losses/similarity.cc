#include "losses/similarity.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"

namespace gradcache {

namespace {

// Bytes of one tile of scores (two more are temporary): small beside a chunk's activations and within a
// cache, large enough for full-speed products.
int64_t tileBytes(const at::Tensor& tensor) {
  return tensor.is_cpu() ? int64_t{2} << 20 : int64_t{256} << 20;
}

// Rows whose normalisation is undone at once.
constexpr int64_t kSlice = 512;

// The score of a row with itself where such pairs are left out. Its exponential is 0, and unlike minus
// infinity it can be multiplied by 0.
constexpr double kLeftOut = -1e30;

const at::Tensor& checkedAnchors(const std::vector<at::Tensor>& representations) {
  require(representations.size() >= 2, "SHAPE",
          "the loss needs at least two towers, anchors and candidates; got ", representations.size());
  const at::Tensor& anchors = representations[0];
  for (size_t k = 0; k < representations.size(); ++k) {
    const at::Tensor& tensor = representations[k];
    require(tensor.dim() == 2, "SHAPE", "representations of tower ", k, " have shape ", tensor.sizes(),
            ", expected [rows, dimension]");
    require(tensor.size(0) > 0, "SHAPE", "tower ", k, " has no row");
    require(tensor.size(1) == anchors.size(1), "SHAPE", "tower ", k, " has dimension ", tensor.size(1),
            ", the anchors have ", anchors.size(1));
    require(tensor.scalar_type() == anchors.scalar_type(), "DTYPE", "tower ", k, " has type ",
            tensor.scalar_type(), ", the anchors have ", anchors.scalar_type());
    require(tensor.device() == anchors.device(), "DEVICE", "tower ", k, " is on ", tensor.device(),
            ", the anchors are on ", anchors.device());
  }
  require(anchors.scalar_type() == at::kFloat || anchors.scalar_type() == at::kDouble, "DTYPE",
          "the loss takes float32 or float64 representations, got ", anchors.scalar_type());
  return anchors;
}

}  // namespace

Similarity::Tower::Tower(const at::Tensor& tensor, bool cosine) : rows(tensor.contiguous()) {
  if (cosine)
    inverse = at::linalg_vector_norm(rows, 2, at::IntArrayRef{1}, true).clamp_min_(1e-12).reciprocal_();
}

at::Tensor Similarity::Tower::compared(int64_t begin, int64_t count) const {
  at::Tensor part = rows.narrow(0, begin, count);
  return inverse.defined() ? part.mul(inverse.narrow(0, begin, count)) : part;
}

void Similarity::Tower::throughNormalization(const at::Tensor& gradient, int64_t begin, int64_t slice) const {
  if (!inverse.defined()) return;
  for (int64_t from = 0; from < gradient.size(0); from += slice) {
    const int64_t count = std::min(slice, gradient.size(0) - from);
    at::Tensor part = gradient.narrow(0, from, count);
    at::Tensor direction = compared(begin + from, count);
    part.sub_(direction.mul(direction.mul(part).sum({1}, true))).mul_(inverse.narrow(0, begin + from, count));
  }
}

Similarity::Similarity(const std::vector<at::Tensor>& representations, const Measure& measure)
    : scale_(measure.scale),
      withoutSelf_(measure.withoutSelf),
      anchors_(checkedAnchors(representations), measure.cosine) {
  require(!withoutSelf_ || representations[1].size(0) == anchors(), "SHAPE", "the ", anchors(),
          " anchors are to be their own candidates, but there are ", representations[1].size(0));
  for (size_t k = 1; k < representations.size(); ++k) {
    candidates_.emplace_back(representations[k], measure.cosine);
    begins_.push_back(columns_);
    columns_ += representations[k].size(0);
  }
  const int64_t rowBytes = columns_ * static_cast<int64_t>(anchors_.rows.element_size());
  tile_ = std::clamp<int64_t>(tileBytes(anchors_.rows) / rowBytes, 1, anchors());
  buffer_ = at::empty({tile_, columns_}, numbers());
}

void Similarity::eachTile(const std::function<void(const Tile&)>& visit) {
  for (int64_t begin = 0; begin < anchors(); begin += tile_) {
    at::Tensor rows = anchors_.compared(begin, std::min(tile_, anchors() - begin));
    visit({begin, rows, scores(rows, begin)});
  }
}

at::Tensor Similarity::scores(const at::Tensor& anchors, int64_t begin) {
  at::Tensor scores = buffer_.narrow(0, 0, anchors.size(0));
  for (size_t k = 0; k < candidates_.size(); ++k) {
    at::Tensor part = scores.narrow(1, begins_[k], candidates_[k].rows.size(0));
    at::mm_out(part, anchors, candidates_[k].rows.t());
    if (candidates_[k].inverse.defined()) part.mul_(candidates_[k].inverse.t());
  }
  scores.mul_(scale_);
  if (withoutSelf_) scores.narrow(1, begin, anchors.size(0)).diagonal().fill_(kLeftOut);
  return scores;
}

at::Tensor Similarity::columnNormalizer() {
  at::Tensor normalizer = at::full({columns_}, -INFINITY, numbers());
  eachTile(
      [&](const Tile& tile) { normalizer = at::logaddexp(normalizer, at::logsumexp(tile.scores, {0})); });
  return normalizer;
}

void Similarity::addGradient(const Tile& tile, const at::Tensor& gradient, double weight) {
  if (gradients_.empty()) {
    gradients_.push_back(at::zeros_like(anchors_.rows));
    for (const Tower& tower : candidates_) gradients_.push_back(at::zeros_like(tower.rows));
  }
  gradient.mul_(scale_ * weight);
  at::Tensor ofAnchors = gradients_[0].narrow(0, tile.begin, tile.anchors.size(0));
  for (size_t k = 0; k < candidates_.size(); ++k) {
    at::Tensor part = gradient.narrow(1, begins_[k], candidates_[k].rows.size(0));
    gradients_[k + 1].addmm_(part.t(), tile.anchors);
    if (candidates_[k].inverse.defined()) part.mul_(candidates_[k].inverse.t());
    ofAnchors.addmm_(part, candidates_[k].rows);
  }
  anchors_.throughNormalization(ofAnchors, tile.begin, tile.anchors.size(0));
}

std::vector<at::Tensor> Similarity::takeGradients() {
  for (size_t k = 0; k < candidates_.size(); ++k)
    candidates_[k].throughNormalization(gradients_[k + 1], 0, kSlice);
  return std::move(gradients_);
}

}  // namespace gradcache
