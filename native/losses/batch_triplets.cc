// The triplet losses over the rows of a batch: an anchor is to be nearer to rows of its own class, its
// positives, than to those of others, its negatives, by a margin. Which triplets count, of D_p and D_n:
//
//   all        every one, the mean of max(0, D_p - D_n + margin) over those above 0
//   hard       the farthest positive and the nearest negative of each anchor, the mean over anchors
//   soft       the same, of log(1 + exp(D_p - D_n))
//   semi-hard  each positive and the nearest negative that is farther, or else the farthest negative; the
//              mean over positives
#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "losses/classes.h"
#include "losses/distances.h"
#include "losses/losses.h"

namespace gradcache {

namespace {

enum class Triplets { kAll, kHard, kSoft, kSemiHard };

Triplets tripletsFrom(const std::string& name) {
  static const std::map<std::string, Triplets> known{{"all", Triplets::kAll},
                                                     {"hard", Triplets::kHard},
                                                     {"soft", Triplets::kSoft},
                                                     {"semi-hard", Triplets::kSemiHard}};
  const auto found = known.find(name);
  require(found != known.end(), "INPUT", "there are no triplets '", name, "'");
  return found->second;
}

// The other rows of the class of each row of a strip.
struct Positives {
  at::Tensor places;  // int64 [rows, most]: any where a row has fewer
  at::Tensor absent;  // bool [rows, most]
  int64_t most() const { return places.size(1); }
};

class BatchTriplets final : public TiledLoss {
 public:
  explicit BatchTriplets(const Settings& settings)
      : triplets_(tripletsFrom(settings.text("triplets"))),
        euclidean_(settings.truth("euclidean")),
        margin_(settings.has("margin") ? settings.number("margin") : 0),
        classes_(settings),
        given_(settings.integers("classes")) {}

  void compute(Similarity& similarity, LossSums& sums) override {
    require(similarity.towers() == 1, "SHAPE", "the loss needs one tower; got ", similarity.towers());
    std::vector<Pairing> pairings = classes_.pairings(similarity);
    for (size_t row = 0; row < given_.size(); ++row)
      members_[given_[row]].push_back(static_cast<int64_t>(row));
    Distances distances(similarity, euclidean_);
    at::Tensor count = at::zeros({}, similarity.numbers().dtype(at::kDouble));
    pairings[0].eachKeptStrip([&](Strip& strip) {
      switch (triplets_) {
        case Triplets::kAll:
          return addAll(strip, distances, count, sums);
        case Triplets::kSemiHard:
          return addSemiHard(strip, distances, sums);
        default:
          return addHardest(strip, distances, sums);
      }
    });
    distances.finish();
    sums.addLoss(distances.nothing());
    if (triplets_ != Triplets::kAll) return sums.divideBy(termsByClass());
    if (similarity.share() != nullptr) similarity.share()->sum(count);
    sums.divideBy(std::max(count.item<double>(), 1.0));
  }

 private:
  // How many terms there are: anchors, or pairs of a class.
  double termsByClass() const {
    if (triplets_ != Triplets::kSemiHard) return static_cast<double>(given_.size());
    double pairs = 0;
    for (const auto& [number, rows] : members_)
      pairs += static_cast<double>(rows.size()) * static_cast<double>(rows.size() - 1);
    return std::max(pairs, 1.0);
  }

  // The whole strip, as classes.h knows tiles.
  static Tile tileOf(const Strip& strip) { return {strip.begin(), strip.rows(), 0, strip.columns(), {}}; }

  Positives positivesOf(const Strip& strip, const at::TensorOptions& numbers) const {
    size_t most = 0;
    for (int64_t row = strip.begin(); row < strip.begin() + strip.rows(); ++row)
      most = std::max(most, members_.at(given_[row]).size() - 1);
    at::Tensor places = at::full({strip.rows(), static_cast<int64_t>(most)}, -1, at::kLong);
    auto* to = places.mutable_data_ptr<int64_t>();
    for (int64_t row = strip.begin(); row < strip.begin() + strip.rows(); ++row, to += most) {
      const std::vector<int64_t>& all = members_.at(given_[row]);
      std::copy_if(all.begin(), all.end(), to, [&](int64_t other) { return other != row; });
    }
    places = places.to(numbers.device());
    const at::Tensor absent = places.lt(0);
    return {places.clamp_min_(0), absent};
  }

  void addHardest(Strip& strip, Distances& distances, LossSums& sums) {
    const at::Tensor all = distances.of(strip);
    const at::Tensor same = classes_.same(0, tileOf(strip));
    const auto [farthest, positives] = all.masked_fill(same.logical_not(), -INFINITY).max(1);
    const at::Tensor alone = farthest.isinf();
    // Where all rows are of one class, the farthest one takes the place of the negative.
    const at::Tensor negatives =
        members_.size() == 1
            ? all.argmax(1)
            : all.masked_fill(classes_.different(0, tileOf(strip)).logical_not(), INFINITY).argmin(1);
    const Distances::Pairs drawn = distances.ofPairs(strip, positives);
    const Distances::Pairs pushed = distances.ofPairs(strip, negatives);
    // An anchor that is alone in its class has a positive at the distance 0.
    const at::Tensor more = drawn.values().masked_fill(alone, 0).sub_(pushed.values());
    const bool soft = triplets_ == Triplets::kSoft;
    const at::Tensor terms = soft ? at::softplus(more, 1, kLinear) : more.add(margin_).clamp_min_(0);
    sums.addLoss(terms.sum());
    const at::Tensor slopes = soft ? more.sigmoid() : terms.gt(0).to(at::kDouble);
    distances.addGradient(strip, drawn, slopes.masked_fill(alone, 0));
    distances.addGradient(strip, pushed, slopes.neg());
  }

  // With an anchor's positives in the order of their distance and the margin, each negative makes a term with
  // all that come behind its own distance.
  void addAll(Strip& strip, Distances& distances, const at::Tensor& count, LossSums& sums) {
    const at::Tensor all = distances.of(strip);
    const Positives positives = positivesOf(strip, all.options());
    if (positives.most() == 0) return;
    const auto [reach, order] =
        all.gather(1, positives.places).add_(margin_).masked_fill_(positives.absent, -INFINITY).sort(1);
    const at::Tensor places = positives.places.gather(1, order);
    const at::Tensor others = classes_.different(0, tileOf(strip)).logical_not_();
    const at::Tensor first = at::searchsorted(reach, all.masked_fill(others, INFINITY), false, true);
    // How many negatives are nearer than each positive's reach.
    const at::Tensor nearer =
        at::zeros({strip.rows(), positives.most() + 1}, reach.options().dtype(at::kLong))
            .scatter_add_(1, first, at::ones({1, 1}, first.options()).expand_as(first))
            .cumsum(1)
            .narrow(1, 0, positives.most());
    count.add_(nearer.sum());
    at::Tensor slopes = first.sub(positives.most()).to(reach.dtype());
    const at::Tensor none = nearer.eq(0);
    sums.addLoss(reach.masked_fill(none, 0).to(at::kDouble).mul_(nearer).sum());
    sums.addLoss(slopes.mul(all).sum(at::kDouble));
    slopes.scatter_add_(1, places, nearer.to(slopes.dtype()));
    distances.addGradient(strip, all, slopes);
  }

  void addSemiHard(Strip& strip, Distances& distances, LossSums& sums) {
    const at::Tensor all = distances.of(strip);
    const Positives positives = positivesOf(strip, all.options());
    if (positives.most() == 0) return;
    const auto [drawn, order] =
        all.gather(1, positives.places).masked_fill_(positives.absent, INFINITY).sort(1);
    const at::Tensor places = positives.places.gather(1, order), absent = drawn.isinf();
    const Pushed pushed = pushedBy(drawn, all, classes_.different(0, tileOf(strip)).logical_not_());
    const at::Tensor terms = drawn.sub(pushed.distances).add_(margin_).clamp_min_(0).masked_fill_(absent, 0);
    sums.addLoss(terms.sum(at::kDouble));
    const at::Tensor ones = terms.gt(0).to(terms.dtype());
    at::Tensor slopes = at::zeros_like(all).scatter_add_(1, places, ones);
    if (members_.size() > 1) slopes.scatter_add_(1, pushed.places, ones.neg());
    distances.addGradient(strip, all, slopes);
  }

  // The negative of each positive: its distance and its place.
  struct Pushed {
    at::Tensor distances, places;
  };
  // `drawn` are distances of positives in their order, `others` all that are no negatives.
  Pushed pushedBy(const at::Tensor& drawn, const at::Tensor& all, const at::Tensor& others) const {
    const at::Tensor negatives = all.masked_fill(others, -INFINITY);
    const int64_t most = drawn.size(1), rows = all.size(0), columns = all.size(1);
    // Of the negatives between a positive and the next one, the nearest; the first column is for those that
    // are nearer than all positives.
    const at::Tensor between = at::searchsorted(drawn, negatives);
    at::Tensor nearest =
        at::full({rows, most + 1}, INFINITY, all.options()).scatter_reduce_(1, between, negatives, "amin");
    const at::Tensor numbers =
        at::arange(columns, between.options()).masked_fill(negatives.ne(nearest.gather(1, between)), columns);
    // Any place for what is between no two, or is no number.
    const at::Tensor firsts = at::full({rows, most + 1}, columns, between.options())
                                  .scatter_reduce_(1, between, numbers, "amin")
                                  .clamp_max_(columns - 1);
    // The nearest behind each positive.
    const auto [least, where] = nearest.narrow(1, 1, most).flip(1).cummin(1);
    const at::Tensor behind = firsts.narrow(1, 1, most).flip(1).gather(1, where).flip(1);
    const at::Tensor farther = least.flip(1), none = farther.isinf();
    // Where no negative is farther, the farthest one; the anchor itself where there is none at all.
    auto [farthest, place] = negatives.max(1, true);
    farthest.masked_fill_(farthest.isinf(), 0);
    return {at::where(none, farthest, farther), at::where(none, place, behind)};
  }

  // From here on log(1 + exp(x)) is x in float64.
  static constexpr double kLinear = 40;

  const Triplets triplets_;
  const bool euclidean_;
  const double margin_;
  Classes classes_;
  const std::vector<int64_t> given_;
  std::map<int64_t, std::vector<int64_t>> members_;  // the rows of each class
};

}  // namespace

std::unique_ptr<TiledLoss> batchTriplets(const Settings& settings) {
  return std::make_unique<BatchTriplets>(settings);
}

}  // namespace gradcache
