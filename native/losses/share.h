// A loss that several processes compute together, each the scores of some rows. All have all representations.
//
// Of every pairing a process visits the rows of its part alone. Statistics of rows that it has visited are
// complete; what all must know of other rows, and of columns, is added up between the sweeps. Gradients,
// slopes and losses are those of its part: their sum over the processes is that of the whole.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace gradcache {

class Share {
 public:
  Share(int64_t index, int64_t count) : index_(index), count_(count) {}
  virtual ~Share() = default;

  // Some of as many things as there are rows.
  struct Part {
    int64_t begin = 0, count = 0;
  };
  Part of(int64_t rows) const {
    const int64_t begin = rows * index_ / count_;
    return {begin, rows * (index_ + 1) / count_ - begin};
  }
  // Whether this process counts what all have alike.
  bool first() const { return index_ == 0; }

  // Of every element over all processes, in place. All processes call them in the same order.
  virtual void sum(const at::Tensor& numbers) const = 0;
  virtual void most(const at::Tensor& numbers) const = 0;

 private:
  const int64_t index_, count_;
};

}  // namespace gradcache
