// The part of a rank in a loss that ranks compute together.
#pragma once

#include <memory>

#include "distributed/group.h"
#include "losses/share.h"

namespace gradcache::binding {

// What ranks tell one another goes through the CPU, where each first says that it is there: a rank whose part
// fails says so instead, in the meeting at the end of the loss. These are meetings of
// lib/distributed/meeting.ts, which the other side may hold in JavaScript.
class RankShare final : public Share {
 public:
  // `phase` is the number of what the ranks meet for.
  RankShare(std::shared_ptr<distributed::Group> group, double phase);

  void sum(const at::Tensor& numbers) const override;
  void most(const at::Tensor& numbers) const override;

 private:
  void reduce(const at::Tensor& numbers, distributed::Reduction reduction) const;
  // Whether all ranks have come to add up numbers. One that has not may have told that it lives.
  bool allReduce() const;

  std::shared_ptr<distributed::Group> group_;
  const double phase_;
};

}  // namespace gradcache::binding
