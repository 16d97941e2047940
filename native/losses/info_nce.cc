// InfoNCE (van den Oord et al. 2018; Gao et al. 2021, equation 1) in all of its forms: an anchor is to find
// its positives. For a positive p of anchor i, each with its weight,
//
//   loss = log Z - score(i, p),   log Z of one softmax, or the mean of several ones,
//
// over blocks of scores, which the directions name: anchor i with all candidates, all anchors with p, anchor
// i with the other anchors, p with the other candidates.
#include <cmath>
#include <memory>
#include <optional>

#include "core/error.h"
#include "losses/documents.h"
#include "losses/identities.h"
#include "losses/losses.h"
#include "losses/softmax.h"
#include "losses/statistics.h"
#include "losses/targets.h"

namespace gradcache {

namespace {

// The pairs of an anchor and one of its positives, for some anchors: all [anchors, k].
struct Pairs {
  at::Tensor candidates;  // int64; any where an anchor has fewer positives than k
  at::Tensor logWeights;  // minus infinity there
};

// One block of scores in the denominator, a number for each pair.
struct Block {
  at::Tensor logSumExp;
  at::Tensor sum, count;  // of the logits, for label smoothing
};

// The normalizer (softmax.h) of each of `count` rows or columns: `numbers` are log weight - log sum exp of
// pairs, and `of` says whose each one is.
at::Tensor normalizerOf(const at::Tensor& numbers, const at::Tensor& of, int64_t count) {
  return logSumExpAt(numbers, of, count).neg_();
}

// The sum of numbers of pairs for each of `count` rows or columns.
at::Tensor sumsOf(const at::Tensor& numbers, const at::Tensor& of, int64_t count) {
  at::Tensor sums = at::zeros({count}, numbers.options());
  return sums.index_put_({of.reshape({-1})}, numbers.reshape({-1}), true);
}

class InfoNce final : public TiledLoss {
 public:
  explicit InfoNce(const Settings& settings)
      : docToQuery_(settings.truth("docToQuery")),
        queryToQuery_(settings.truth("queryToQuery")),
        docToDoc_(settings.truth("docToDoc")),
        joint_(settings.truth("joint")),
        hardness_(settings.text("hardness")),
        strength_(settings.number("hardnessStrength")),
        margin_(settings.number("margin")),
        smoothing_(settings.number("labelSmoothing")),
        given_(settings),
        documents_(settings),
        identities_(settings) {
    if (settings.has("weights")) weights_ = settings.numbers("weights");
    require(joint_ || !(queryToQuery_ || docToDoc_), "INPUT",
            "a softmax of its own for each direction is defined for query_to_doc and doc_to_query alone");
    require(!identities_.any() || smoothing_ == 0, "INPUT",
            "ids leave candidates out, and label smoothing takes all of them");
    require(!given_.given() || !docToDoc_, "INPUT",
            "doc_to_doc takes no targets: positive i is that of anchor i");
  }

  void compute(Similarity& similarity, LossSums& sums) override {
    if (!identities_.any()) similarity.allowKernels();
    positives_ = given_.among(similarity);
    documents_.check(similarity);
    logWeights_ = logWeights(similarity);
    Pairing pairing = similarity.pairFrom(0, 1);
    const Logits logits = logitsOf(similarity);
    if (docToQuery_ || queryToQuery_ || docToDoc_) {
      Strip strip = pairing.whole();
      add(similarity, pairing, strip, logits, sums);
      return;
    }
    pairing.eachStrip([&](Strip& strip) { add(similarity, pairing, strip, logits, sums); });
  }

 private:
  // Adds the anchors of a strip; of all anchors, where other blocks than the strip's rows are in the
  // denominator.
  void add(Similarity& similarity, Pairing& pairing, Strip& strip, const Logits& logits, LossSums& sums) {
    const Pairs pairs{positives_.columns().narrow(0, strip.begin(), strip.rows()).clamp_min(0),
                      logWeights_.narrow(0, strip.begin(), strip.rows())};
    const at::Tensor anchors =
        at::arange(strip.rows(), pairs.candidates.options()).unsqueeze(1).expand_as(pairs.candidates);
    const bool smooths = smoothing_ != 0;
    const SoftmaxStatistics found = softmaxStatistics(strip, similarity, pairing.columns(), logits,
                                                      positives_, {true, docToQuery_, smooths});
    const auto all = [&](int64_t count) {
      return at::full_like(found.positives, static_cast<double>(count));
    };
    std::vector<Block> blocks{
        {pick(found.rows, anchors), pick(found.rowSums, anchors), all(pairing.columns())}};
    if (docToQuery_)
      blocks.push_back({pick(found.columns, pairs.candidates), pick(found.columnSums, pairs.candidates),
                        all(pairing.rows())});

    // Blocks of other pairings. An anchor and its positive have the same number there.
    std::vector<std::unique_ptr<OtherBlock>> others;
    if (queryToQuery_) {
      others.push_back(std::make_unique<OtherBlock>(similarity.pair(0, {0})));
      others.back()->logits.leftOut = Chosen::diagonal(similarity.rows(0), 0, similarity.numbers());
      others.back()->logits.all = identities_.leaveOut(similarity, 0, {0}, {});
      others.back()->logits.most = 0;
      others.back()->rows = anchors;
    }
    if (docToDoc_) {
      others.push_back(std::make_unique<OtherBlock>(similarity.pairFrom(1, 1)));
      others.back()->logits.leftOut = documents_.all(similarity, positives_);
      others.back()->logits.all = identities_.leaveOut(similarity, 1, similarity.towersFrom(1), {});
      others.back()->logits.most = 0;
      others.back()->rows = pairs.candidates;
    }
    for (const auto& other : others) {
      const Chosen& leftOut = other->logits.leftOut;
      const SoftmaxStatistics their = softmaxStatistics(other->strip, similarity, other->pairing.columns(),
                                                        other->logits, {}, {true, false, smooths});
      const at::Tensor counts = leftOut.columns().ge(0).sum({1}).neg_().add_(other->pairing.columns());
      blocks.push_back({pick(their.rows, other->rows), pick(their.rowSums, other->rows),
                        pick(counts, other->rows).to(similarity.numbers().dtype())});
    }

    const at::Tensor weights = pairs.logWeights.exp();
    const auto [logZ, shares] = denominator(blocks);
    sums.addLoss(strip, weights.mul(logZ.sub(found.positives, 1 - smoothing_)).sum(at::kDouble));
    if (smooths) sums.addLoss(strip, weights.mul(meanLogit(blocks)).sum(at::kDouble).mul(-smoothing_));

    SoftmaxGradient gradient;
    gradient.rows = normalizerOf(pairs.logWeights.sub(shares[0]), anchors, strip.rows());
    gradient.positives = weights.mul(1 - smoothing_);
    if (docToQuery_)
      gradient.columns = normalizerOf(pairs.logWeights.sub(shares[1]), pairs.candidates, pairing.columns());
    if (smooths) {
      gradient.rowConstants =
          sumsOf(weights.mul(evenShare(blocks, 0)).mul_(smoothing_), anchors, strip.rows());
      if (docToQuery_)
        gradient.columnConstants =
            sumsOf(weights.mul(evenShare(blocks, 1)).mul_(smoothing_), pairs.candidates, pairing.columns());
    }
    const double marginSlope = -margin_ * similarity.measure().scale;
    if (margin_ != 0 && similarity.measure().learned) {
      gradient.watch = [&](const at::Tensor& of) {
        sums.addSlope("scale", of.sum(at::kDouble).mul_(marginSlope));
      };
    }
    addSoftmaxGradient(strip, logits, positives_, gradient);

    for (size_t k = 0; k < others.size(); ++k) {
      OtherBlock& other = *others[k];
      const size_t block = blocks.size() - others.size() + k;
      SoftmaxGradient of;
      of.rows = normalizerOf(pairs.logWeights.sub(shares[block]), other.rows, other.pairing.rows());
      if (smooths)
        of.rowConstants =
            sumsOf(weights.mul(evenShare(blocks, block)).mul_(smoothing_), other.rows, other.pairing.rows());
      addSoftmaxGradient(other.strip, other.logits, {}, of);
    }
  }

  // Rows of another pairing in the denominator.
  struct OtherBlock {
    explicit OtherBlock(Pairing of) : pairing(std::move(of)), strip(pairing.whole()) {}
    Pairing pairing;
    Strip strip;
    Logits logits;
    at::Tensor rows;  // of each pair
  };

  static at::Tensor pick(const at::Tensor& numbers, const at::Tensor& of) {
    return numbers.defined() ? numbers.index_select(0, of.reshape({-1})).view_as(of) : numbers;
  }

  // log Z of each pair; and for each block what, subtracted from a logit, gives the logarithm of the
  // derivative of log Z.
  std::pair<at::Tensor, std::vector<at::Tensor>> denominator(const std::vector<Block>& blocks) const {
    if (blocks.size() == 1) return {blocks[0].logSumExp, {blocks[0].logSumExp}};
    std::vector<at::Tensor> all;
    for (const Block& block : blocks) all.push_back(block.logSumExp);
    if (joint_) {
      at::Tensor logZ = at::logsumexp(at::stack(all), {0});
      return {logZ, std::vector<at::Tensor>(blocks.size(), logZ)};
    }
    const auto count = static_cast<double>(blocks.size());
    at::Tensor logZ = at::stack(all).mean({0});
    for (at::Tensor& each : all) each = each.add(std::log(count));
    return {logZ, all};
  }

  // The weight of each logit of a block in the mean of a pair's logits, which label smoothing subtracts.
  at::Tensor evenShare(const std::vector<Block>& blocks, size_t block) const {
    if (!joint_) return blocks[block].count.mul(static_cast<double>(blocks.size())).reciprocal_();
    at::Tensor all = blocks[0].count;
    for (size_t k = 1; k < blocks.size(); ++k) all = all.add(blocks[k].count);
    return all.reciprocal();
  }

  at::Tensor meanLogit(const std::vector<Block>& blocks) const {
    at::Tensor mean = at::zeros_like(blocks[0].sum);
    for (size_t k = 0; k < blocks.size(); ++k) mean.add_(blocks[k].sum.mul(evenShare(blocks, k)));
    return mean;
  }

  // The logarithm of each pair's weight: that of its anchor among all, spread over the anchor's positives.
  at::Tensor logWeights(const Similarity& similarity) const {
    const at::Tensor present = positives_.columns().ge(0);
    const at::Tensor counts = present.sum({1}, true).to(similarity.statistics().dtype());
    at::Tensor ofAnchors;
    if (weights_.empty()) {
      ofAnchors = at::full({similarity.rows(0), 1}, 1 / static_cast<double>(similarity.rows(0)),
                           similarity.statistics());
    } else {
      require(static_cast<int64_t>(weights_.size()) == similarity.rows(0), "SHAPE", weights_.size(),
              " weights for ", similarity.rows(0), " anchors");
      const at::Tensor given = at::tensor(at::ArrayRef<double>(weights_), at::kDouble).unsqueeze(1);
      ofAnchors = given.div(given.sum()).to(similarity.statistics());
    }
    return ofAnchors.div(counts).log_().masked_fill(present.logical_not(), -INFINITY);
  }

  Logits logitsOf(const Similarity& similarity) const {
    Logits logits;
    logits.all = identities_.leaveOut(similarity, 0, similarity.towersFrom(1), positives_);
    logits.shift = -margin_ * similarity.measure().scale;
    if (hardness_ != "none" && strength_ != 0) logits.hardness = hardnessOf(similarity);
    const Measure& measure = similarity.measure();
    logits.most = std::abs(logits.shift) + strength_ * similarity.bound() / measure.scale;
    return logits;
  }

  // Adds strength * similarity, taken as a constant, to the logits of some candidates.
  Logits::Hardness hardnessOf(const Similarity& similarity) const {
    const double factor = strength_ / similarity.measure().scale;
    if (hardness_ == "hard_negatives")
      return {factor, false, documents_.hardNegatives(similarity, positives_)};
    const bool all = hardness_ == "all_negatives";
    require(all || hardness_ == "in_batch_negatives", "INPUT", "there is no hardness mode '", hardness_, "'");
    return {factor, true, all ? positives_ : documents_.all(similarity, positives_)};
  }

  const bool docToQuery_, queryToQuery_, docToDoc_;
  const bool joint_;  // one softmax over all blocks, else one for each
  const std::string hardness_;
  const double strength_, margin_, smoothing_;
  const Targets given_;
  const Documents documents_;
  const Identities identities_;
  std::vector<double> weights_;  // of anchors
  Chosen positives_;
  at::Tensor logWeights_;  // [anchors, k]
};

}  // namespace

std::unique_ptr<TiledLoss> infoNce(const Settings& settings) { return std::make_unique<InfoNce>(settings); }

}  // namespace gradcache
