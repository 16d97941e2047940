#include "losses/info_nce.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace gradcache {

namespace {

// Of one tile of scores (two more of its size come and go): small beside a chunk's activations and within a
// cache, large enough for full-speed products.
int64_t tileBytes(const at::Tensor& tensor) {
  return tensor.is_cpu() ? int64_t{2} << 20 : int64_t{256} << 20;
}

void check(const std::vector<at::Tensor>& representations, const InfoNceOptions& options) {
  require(representations.size() >= 2, "SHAPE",
          "InfoNCE needs at least two towers, anchors and candidates; got ", representations.size());
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
          "InfoNCE takes float32 or float64 representations, got ", anchors.scalar_type());
  if (options.targets.empty()) {
    require(representations[1].size(0) == anchors.size(0), "SHAPE", anchors.size(0), " anchors but ",
            representations[1].size(0), " positives: give explicit targets, or as many positives as anchors");
  } else {
    require(static_cast<int64_t>(options.targets.size()) == anchors.size(0), "SHAPE", options.targets.size(),
            " targets for ", anchors.size(0), " anchors");
  }
}

// One tower's rows with what cosine similarity divides them by.
struct Side {
  at::Tensor rows;
  at::Tensor inverse;  // [n, 1]: 1 / length, or undefined for the dot product

  Side(const at::Tensor& tensor, bool cosine) : rows(tensor.contiguous()) {
    if (cosine)
      inverse = at::linalg_vector_norm(rows, 2, at::IntArrayRef{1}, true).clamp_min_(1e-12).reciprocal_();
  }
  at::Tensor unit(int64_t begin, int64_t count) const {
    at::Tensor part = rows.narrow(0, begin, count);
    return inverse.defined() ? part.mul(inverse.narrow(0, begin, count)) : part;
  }
  // From the gradient of the unit rows to that of the rows themselves, in place, a slice at a time.
  void throughNormalization(const at::Tensor& gradient, int64_t begin, int64_t slice) const {
    if (!inverse.defined()) return;
    for (int64_t from = 0; from < gradient.size(0); from += slice) {
      const int64_t count = std::min(slice, gradient.size(0) - from);
      at::Tensor part = gradient.narrow(0, from, count);
      at::Tensor direction = unit(begin + from, count);
      part.sub_(direction.mul(direction.mul(part).sum({1}, true)))
          .mul_(inverse.narrow(0, begin + from, count));
    }
  }
};

class Tiles {
 public:
  Tiles(const std::vector<at::Tensor>& representations, const InfoNceOptions& options)
      : options_(options), anchors_(representations[0], options.cosine), count_(representations[0].size(0)) {
    for (size_t k = 1; k < representations.size(); ++k) {
      candidates_.emplace_back(representations[k], options.cosine);
      begins_.push_back(columns_);
      columns_ += representations[k].size(0);
    }
    const auto longs = representations[0].options().dtype(at::kLong);
    if (options.targets.empty()) {
      targets_ = at::arange(count_, longs);
    } else {
      for (int64_t target : options.targets) {
        require(target >= 0 && target < columns_, "SHAPE", "target ", target, " is not one of the ", columns_,
                " candidates");
      }
      targets_ =
          at::tensor(at::ArrayRef<int64_t>(options.targets), at::kLong).to(representations[0].device());
    }
    const int64_t fitting =
        tileBytes(anchors_.rows) / (columns_ * static_cast<int64_t>(anchors_.rows.element_size()));
    tile_ = std::clamp<int64_t>(fitting, 1, count_);
    buffer_ = at::empty({tile_, columns_}, anchors_.rows.options());
  }

  InfoNce run() {
    const double share = (options_.symmetric ? 0.5 : 1.0) / static_cast<double>(count_);
    const auto numbers = anchors_.rows.options();
    at::Tensor loss = at::zeros({}, numbers.dtype(at::kDouble)),
               logScale = at::zeros({}, numbers.dtype(at::kDouble));
    at::Tensor columnNormalizer, columnWeight;
    if (options_.symmetric) {
      columnNormalizer = normalizeColumns();
      // A candidate that is the target of several anchors counts once for each.
      columnWeight = at::bincount(targets_, {}, columns_).to(numbers.dtype());
      loss.add_(columnNormalizer.index_select(0, targets_).sum(at::kDouble).mul(share));
    }
    InfoNce result;
    for (const Side* side : sides()) result.gradients.push_back(at::zeros_like(side->rows));

    for (int64_t begin = 0; begin < count_; begin += tile_) {
      const int64_t rows = std::min(tile_, count_ - begin);
      at::Tensor unit = anchors_.unit(begin, rows);
      at::Tensor scores = tileScores(unit);
      at::Tensor target = targets_.narrow(0, begin, rows).unsqueeze(1);
      at::Tensor normalizer = at::logsumexp(scores, {1}, true);
      at::Tensor chosen = scores.gather(1, target);
      loss.add_(normalizer.sum(at::kDouble)
                    .sub(chosen.sum(at::kDouble).mul(options_.symmetric ? 2.0 : 1.0))
                    .mul(share));
      at::Tensor kept = options_.learned ? scores.clone() : at::Tensor();
      // G = dL / dscores, in the scores' place
      at::Tensor ofColumns;
      if (options_.symmetric) ofColumns = scores.sub(columnNormalizer).exp_().mul_(columnWeight);
      at::Tensor gradient = scores.sub_(normalizer).exp_();
      if (ofColumns.defined()) gradient.add_(ofColumns);
      gradient.mul_(share).scatter_add_(1, target, at::full_like(chosen, -1.0 / static_cast<double>(count_)));
      if (kept.defined()) logScale.add_(kept.mul_(gradient).sum(at::kDouble));
      gradient.mul_(options_.scale * options_.weight);
      addGradients(gradient, unit, begin, result.gradients);
    }
    for (size_t k = 0; k < candidates_.size(); ++k) {
      candidates_[k].throughNormalization(result.gradients[k + 1], 0, 512);
    }
    result.loss = loss.item<double>();
    result.logScaleGradient = logScale.item<double>() * options_.weight;
    return result;
  }

 private:
  std::vector<const Side*> sides() const {
    std::vector<const Side*> all{&anchors_};
    for (const Side& side : candidates_) all.push_back(&side);
    return all;
  }

  // scale * similarity of some anchors with all candidates, in the one buffer.
  at::Tensor tileScores(const at::Tensor& unit) {
    at::Tensor scores = buffer_.narrow(0, 0, unit.size(0));
    for (size_t k = 0; k < candidates_.size(); ++k) {
      at::Tensor part = scores.narrow(1, begins_[k], candidates_[k].rows.size(0));
      at::mm_out(part, unit, candidates_[k].rows.t());
      if (candidates_[k].inverse.defined()) part.mul_(candidates_[k].inverse.t());
    }
    return scores.mul_(options_.scale);
  }

  // log sum exp over all anchors, for each candidate: [columns].
  at::Tensor normalizeColumns() {
    at::Tensor normalizer = at::full({columns_}, -INFINITY, anchors_.rows.options());
    for (int64_t begin = 0; begin < count_; begin += tile_) {
      at::Tensor scores = tileScores(anchors_.unit(begin, std::min(tile_, count_ - begin)));
      normalizer = at::logaddexp(normalizer, at::logsumexp(scores, {0}));
    }
    return normalizer;
  }

  // `gradient` is dL / d(similarity) of the tile's anchors with all candidates.
  void addGradients(const at::Tensor& gradient, const at::Tensor& unit, int64_t begin,
                    std::vector<at::Tensor>& gradients) {
    at::Tensor ofAnchors = gradients[0].narrow(0, begin, unit.size(0));
    for (size_t k = 0; k < candidates_.size(); ++k) {
      at::Tensor part = gradient.narrow(1, begins_[k], candidates_[k].rows.size(0));
      gradients[k + 1].addmm_(part.t(), unit);
      if (candidates_[k].inverse.defined()) part.mul_(candidates_[k].inverse.t());
      ofAnchors.addmm_(part, candidates_[k].rows);
    }
    anchors_.throughNormalization(ofAnchors, begin, unit.size(0));
  }

  const InfoNceOptions& options_;
  Side anchors_;
  std::vector<Side> candidates_;
  std::vector<int64_t> begins_;
  int64_t count_ = 0, columns_ = 0, tile_ = 0;
  at::Tensor targets_, buffer_;
};

}  // namespace

InfoNce infoNce(const std::vector<at::Tensor>& representations, const InfoNceOptions& options) {
  check(representations, options);
  require(std::isfinite(options.scale) && options.scale > 0, "INPUT",
          "the temperature must be positive and finite, its inverse is ", options.scale);
  at::NoGradGuard withoutGraph;
  return Tiles(representations, options).run();
}

}  // namespace gradcache
