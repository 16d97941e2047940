// NT-Xent, the loss of SimCLR (Chen et al. 2020): each view of an example is to find the other one among all
// views.
#include <cmath>
#include <memory>

#include "core/error.h"
#include "losses/losses.h"
#include "losses/softmax.h"

namespace gradcache {

namespace {

class NtXent final : public TiledLoss {
 public:
  explicit NtXent(const Settings&) {}

  void compute(Similarity& similarity, LossSums& sums) override {
    similarity.allowKernels();
    require(similarity.towers() >= 2, "SHAPE", "NT-Xent needs two towers, both views of each example; got ",
            similarity.towers());
    const int64_t examples = similarity.rows(0);
    require(similarity.rows(1) == examples, "SHAPE", "there are ", examples, " first views and ",
            similarity.rows(1), " second ones; as many are needed");
    const double views = 2 * static_cast<double>(examples);
    for (const int64_t view : {0, 1}) {
      const Chosen other = Chosen::diagonal(examples, (1 - view) * examples, similarity.numbers());
      Logits logits;
      logits.leftOut = Chosen::diagonal(examples, view * examples, similarity.numbers());
      Pairing pairing = similarity.pairFrom(view, 0);
      pairing.eachStrip([&](Strip& strip) {
        const SoftmaxStatistics found =
            softmaxStatistics(strip, similarity, pairing.columns(), logits, other, {});
        sums.addLoss(found.rows.unsqueeze(1).sub(found.positives).sum(at::kDouble).div(views));
        SoftmaxGradient gradient;
        gradient.rows = found.rows.add(std::log(views));
        gradient.positives = at::full_like(found.positives, 1 / views);
        addSoftmaxGradient(strip, logits, other, gradient);
      });
    }
  }
};

}  // namespace

std::unique_ptr<TiledLoss> ntXent(const Settings& settings) { return std::make_unique<NtXent>(settings); }

}  // namespace gradcache
