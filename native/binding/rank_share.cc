#include "binding/rank_share.h"

#include <cstddef>
#include <utility>
#include <vector>

#include "core/error.h"

namespace gradcache::binding {

namespace {

// The first numbers of a meeting, and what they are while a loss is computed (lib/distributed/meeting.ts).
constexpr size_t kHead = 16;
constexpr double kWorking = 0, kExchanges = 1;
constexpr const char* kWhat = "computing the loss";

}  // namespace

RankShare::RankShare(std::shared_ptr<distributed::Group> group, double phase,
                     std::vector<std::vector<int64_t>> held)
    : Share(group->rank(), group->size(), std::move(held)), group_(std::move(group)), phase_(phase) {}

void RankShare::sum(const at::Tensor& numbers) const { reduce(numbers, distributed::Reduction::kSum); }

void RankShare::most(const at::Tensor& numbers) const { reduce(numbers, distributed::Reduction::kMax); }

void RankShare::pass(const at::Tensor& sent, const at::Tensor& received) const {
  meet();
  group_->pass(sent, received, kWhat);
}

void RankShare::reduce(const at::Tensor& numbers, distributed::Reduction reduction) const {
  meet();
  at::Tensor here = numbers.to(at::kCPU, /*non_blocking=*/false, /*copy=*/true).contiguous();
  group_->allReduce(here, reduction, kWhat);
  numbers.copy_(here);
}

void RankShare::meet() const {
  while (!allCame()) {
  }
}

bool RankShare::allCame() const {
  std::vector<double> head(kHead);
  head[0] = phase_;
  head[1] = kWorking;
  head[2] = kExchanges;
  const std::vector<double> heads = group_->meet(head, kWhat);
  bool all = true;
  for (size_t rank = 0; rank * kHead < heads.size(); ++rank) {
    const double* theirs = heads.data() + rank * kHead;
    require(theirs[0] == phase_ && theirs[1] == kWorking, "DISTRIBUTED", "rank ", rank,
            " stopped while the loss was computed");
    all = all && theirs[2] == kExchanges;
  }
  return all;
}

}  // namespace gradcache::binding
