// GISTEmbed (Solatorio 2024): InfoNCE without false negatives. A guide, or the model itself, judges: a pair
// that it finds nearer than the anchor's own pair is no negative.
//
// The denominator of anchor i is over anchor i with all candidates and, if wanted, with all anchors, and over
// its positive with all positives. In all of them the similarity of anchor i and positive i is the measure.
#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "core/error.h"
#include "losses/chosen.h"
#include "losses/identities.h"
#include "losses/losses.h"
#include "losses/softmax.h"

namespace gradcache {

namespace {

// Rows whose own pairs are compared at once.
constexpr int64_t kSlice = 512;

// A similarity above another one by no more than this is the same: two products may round differently.
double rounding(const at::TensorOptions& numbers) {
  return caffe2::typeMetaToScalarType(numbers.dtype()) == at::kDouble ? 1e-12 : 1e-6;
}

class GistEmbed final : public TiledLoss {
 public:
  explicit GistEmbed(const Settings& settings)
      : contrastAnchors_(settings.truth("contrastAnchors")),
        contrastPositives_(settings.truth("contrastPositives")),
        relative_(settings.truth("relative")),
        margin_(settings.number("margin")),
        identities_(settings) {
    if (settings.has("threshold")) threshold_ = settings.number("threshold");
  }

  void guideBy(Similarity& guide) override { guide_ = &guide; }

  void compute(Similarity& similarity, LossSums& sums) override {
    check(similarity);
    const int64_t count = similarity.rows(0);
    const Chosen own = Chosen::diagonal(count, 0, similarity.numbers());
    const at::Tensor limits = limitsOf(similarity);
    std::vector<int64_t> candidates{1};
    if (contrastAnchors_) candidates.push_back(0);
    for (int64_t tower = 2; tower < similarity.towers(); ++tower) candidates.push_back(tower);
    Pairing pairing = similarity.pair(0, candidates);
    const Logits logits = logitsOf(similarity, limits, 0, candidates, own);
    if (!contrastPositives_) {
      pairing.eachStrip([&](Strip& strip) {
        const SoftmaxStatistics found =
            softmaxStatistics(strip, similarity, pairing.columns(), logits, own, {});
        add(strip, logits, own, found, found.rows, count, sums);
      });
      return;
    }
    Strip strip = pairing.whole();
    const SoftmaxStatistics found = softmaxStatistics(strip, similarity, pairing.columns(), logits, own, {});
    Pairing positives = similarity.pair(1, {1});
    const Logits theirs = logitsOf(similarity, limits, 1, {1}, {});
    Strip others = positives.whole();
    const SoftmaxStatistics between =
        softmaxStatistics(others, similarity, positives.columns(), theirs, {}, {});
    const at::Tensor logZ = at::logaddexp(found.rows, between.rows);
    add(strip, logits, own, found, logZ, count, sums);
    SoftmaxGradient gradient;
    gradient.rows = logZ.add(std::log(static_cast<double>(count)));
    addSoftmaxGradient(others, theirs, {}, gradient);
  }

 private:
  static void add(Strip& strip, const Logits& logits, const Chosen& own, const SoftmaxStatistics& found,
                  const at::Tensor& logZ, int64_t anchors, LossSums& sums) {
    const auto count = static_cast<double>(anchors);
    sums.addLoss(strip, logZ.unsqueeze(1).sub(found.positives).sum(at::kDouble).div(count));
    SoftmaxGradient gradient;
    gradient.rows = logZ.add(std::log(count));
    gradient.positives = at::full_like(found.positives, 1 / count);
    addSoftmaxGradient(strip, logits, own, gradient);
  }

  void check(const Similarity& similarity) const {
    require(similarity.towers() >= 2, "SHAPE",
            "the loss needs at least two towers, anchors and positives; got ", similarity.towers());
    require(similarity.rows(1) == similarity.rows(0), "SHAPE", "there are ", similarity.rows(0),
            " anchors and ", similarity.rows(1), " positives; as many are needed");
    if (guide_ == nullptr) return;
    require(guide_->towers() == similarity.towers(), "SHAPE", "the guide has ", guide_->towers(),
            " towers and the model ", similarity.towers());
    for (int64_t tower = 0; tower < similarity.towers(); ++tower) {
      require(guide_->rows(tower) == similarity.rows(tower), "SHAPE", "the guide has ", guide_->rows(tower),
              " rows of tower ", tower, " and the model ", similarity.rows(tower));
    }
  }

  // What judges.
  Similarity& judge(Similarity& similarity) const { return guide_ == nullptr ? similarity : *guide_; }

  // Above its limit a pair of a row is left out: [rows].
  at::Tensor limitsOf(Similarity& similarity) const {
    const int64_t count = similarity.rows(0);
    Similarity& judging = judge(similarity);
    const double tolerance = rounding(judging.numbers());
    if (threshold_) return at::full({count}, *threshold_ + tolerance, judging.numbers());
    Pairing pairing = judging.pair(0, {1});
    at::Tensor own = at::empty({count}, judging.numbers());
    for (int64_t begin = 0; begin < count; begin += kSlice) {
      const int64_t rows = std::min(kSlice, count - begin);
      own.narrow(0, begin, rows).copy_(pairing.scoresAt({begin, rows, begin, rows, {}}).diagonal());
    }
    own.div_(judging.measure().scale);
    return own.sub(relative_ ? own.abs().mul(margin_) : at::full({}, margin_, own.options())).add_(tolerance);
  }

  // Leaves out what is about the same example, or judged too near, but no positive.
  Logits logitsOf(Similarity& similarity, const at::Tensor& limits, int64_t rows,
                  const std::vector<int64_t>& columns, const Chosen& positives) const {
    Logits logits;
    logits.most = 0;
    logits.all = [same = identities_.leaveOut(similarity, rows, columns, positives),
                  near = leavingOut(similarity, limits, rows, columns, positives)](const Tile& tile,
                                                                                   at::Tensor& scores) {
      if (same) same(tile, scores);
      near(tile, scores);
    };
    return logits;
  }

  Logits::Change leavingOut(Similarity& similarity, const at::Tensor& limits, int64_t rows,
                            const std::vector<int64_t>& columns, const Chosen& positives) const {
    std::optional<Pairing> guided;
    if (guide_ != nullptr) guided.emplace(guide_->pair(rows, columns));
    const double scale = similarity.measure().scale;
    return [=](const Tile& tile, at::Tensor& scores) {
      const at::Tensor judged = guided ? guided->scoresAt(tile) : scores.div(scale);
      at::Tensor near = judged.gt(limits.narrow(0, tile.row, tile.rows).unsqueeze(1));
      at::Tensor added = near.to(scores.dtype()).mul_(kLeftOut);
      if (positives.any()) positives.add(tile, added, positives.of(tile, added).neg_());
      scores.add_(added);
    };
  }

  const bool contrastAnchors_, contrastPositives_;
  const bool relative_;  // the margin is a part of the own pair's similarity, else subtracted from it
  const double margin_;
  std::optional<double> threshold_;  // in place of the own pair's similarity and the margin
  const Identities identities_;
  Similarity* guide_ = nullptr;  // null: the model judges
};

}  // namespace

std::unique_ptr<TiledLoss> gistEmbed(const Settings& settings) {
  return std::make_unique<GistEmbed>(settings);
}

}  // namespace gradcache
