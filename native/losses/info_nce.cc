// InfoNCE (van den Oord et al. 2018; Gao et al. 2021, equation 1): a softmax over all candidates for each
// anchor.
#include <memory>

#include "losses/losses.h"
#include "losses/targets.h"

namespace gradcache {

namespace {

class InfoNce final : public TiledLoss {
 public:
  explicit InfoNce(const Settings& settings) : symmetric_(settings.truth("symmetric")), given_(settings) {}

  void begin(Similarity& similarity, LossSums& sums) override {
    count_ = similarity.anchors();
    targets_ = given_.among(similarity);
    share_ = (symmetric_ ? 0.5 : 1.0) / static_cast<double>(count_);
    if (!symmetric_) return;
    columnNormalizer_ = similarity.columnNormalizer();
    // A candidate that is the target of several anchors counts once for each.
    columnWeight_ = at::bincount(targets_, {}, similarity.candidates()).to(similarity.numbers().dtype());
    sums.addLoss(columnNormalizer_.index_select(0, targets_).sum(at::kDouble).mul(share_));
  }

  at::Tensor gradient(const Tile& tile, LossSums& sums) override {
    const at::Tensor& scores = tile.scores;
    at::Tensor target = targets_.narrow(0, tile.begin, scores.size(0)).unsqueeze(1);
    at::Tensor normalizer = at::logsumexp(scores, {1}, true);
    at::Tensor chosen = scores.gather(1, target);
    sums.addLoss(
        normalizer.sum(at::kDouble).sub(chosen.sum(at::kDouble).mul(symmetric_ ? 2.0 : 1.0)).mul(share_));
    at::Tensor ofColumns;
    if (symmetric_) ofColumns = scores.sub(columnNormalizer_).exp_().mul_(columnWeight_);
    at::Tensor gradient = scores.sub_(normalizer).exp_();
    if (symmetric_) gradient.add_(ofColumns);
    return gradient.mul_(share_).scatter_add_(1, target,
                                              at::full_like(chosen, -1.0 / static_cast<double>(count_)));
  }

 private:
  const bool symmetric_;  // the mean of anchor -> candidate and candidate -> anchor
  const Targets given_;
  int64_t count_ = 0;
  double share_ = 1;  // of a row's part in the loss
  at::Tensor targets_, columnNormalizer_, columnWeight_;
};

}  // namespace

std::unique_ptr<TiledLoss> infoNce(const Settings& settings) { return std::make_unique<InfoNce>(settings); }

}  // namespace gradcache
