// A loss that several processes compute together, each the scores of some rows.
//
// Of every pairing a process visits the rows of its part alone. Statistics of rows that it has visited are
// complete; what all must know of other rows, and of columns, is added up between the sweeps. Gradients,
// slopes and losses are those of its part: their sum over the processes is that of the whole.
//
// Either all processes hold all representations, or each holds those of the rows that it visits, and all
// others come by in blocks (ring.h). Then it gets the whole gradient of its own.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace gradcache {

class Share {
 public:
  // `held` says of each process how many rows it holds of each tower; empty: each holds all rows.
  Share(int64_t index, int64_t count, std::vector<std::vector<int64_t>> held = {})
      : index_(index), count_(count), held_(std::move(held)) {}
  virtual ~Share() = default;

  int64_t index() const { return index_; }
  int64_t count() const { return count_; }

  // Some of as many things as a tower has rows.
  struct Part {
    int64_t begin = 0, count = 0;
  };
  // Those that this process visits.
  Part of(int64_t tower, int64_t rows) const {
    if (inRing()) return heldBy(index_, tower);
    const int64_t begin = rows * index_ / count_;
    return {begin, rows * (index_ + 1) / count_ - begin};
  }
  // Whether each process holds the rows that it visits and no others.
  bool inRing() const { return !held_.empty(); }
  // In a ring: how many towers there are, and the rows that a process holds of one.
  int64_t towers() const { return static_cast<int64_t>(held_[0].size()); }
  Part heldBy(int64_t process, int64_t tower) const {
    Part part{0, held_[process][tower]};
    for (int64_t k = 0; k < process; ++k) part.begin += held_[k][tower];
    return part;
  }
  // Whether this process counts what all have alike.
  bool first() const { return index_ == 0; }

  // Of every element over all processes, in place. All processes call them in the same order.
  virtual void sum(const at::Tensor& numbers) const = 0;
  virtual void most(const at::Tensor& numbers) const = 0;
  // Sends numbers to the process before this one, and receives as many from the one behind it: tensors
  // without gaps. The first process is behind the last.
  virtual void pass(const at::Tensor& sent, const at::Tensor& received) const = 0;

 private:
  const int64_t index_, count_;
  const std::vector<std::vector<int64_t>> held_;
};

}  // namespace gradcache
