// The part of a rank in a loss that ranks compute together.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "distributed/group.h"
#include "losses/share.h"

namespace gradcache::binding {

// What ranks tell one another goes through the CPU, where each first says that it is there: a rank whose part
// fails says so instead, in the meeting at the end of the loss. These are meetings of
// lib/distributed/meeting.ts, which the other side may hold in JavaScript.
class RankShare final : public Share {
 public:
  // `phase` is the number of what the ranks meet for. `held` is as in Share.
  RankShare(std::shared_ptr<distributed::Group> group, double phase,
            std::vector<std::vector<int64_t>> held = {});

  void sum(const at::Tensor& numbers) const override;
  void most(const at::Tensor& numbers) const override;
  // Goes between the devices of the tensors, without the CPU.
  void pass(const at::Tensor& sent, const at::Tensor& received) const override;

 private:
  void reduce(const at::Tensor& numbers, distributed::Reduction reduction) const;
  // Waits until all ranks have come to an exchange.
  void meet() const;
  // Whether all have. One that has not may have told that it lives.
  bool allCame() const;

  std::shared_ptr<distributed::Group> group_;
  const double phase_;
};

}  // namespace gradcache::binding
