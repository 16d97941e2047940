// The attention bias of MPNet and T5, which all layers share: a learned number per head and bucket of
// distance (T5's buckets, Raffel et al. 2020, 2.1).
#pragma once

#include <string>

#include "model/builder.h"

namespace gradcache {

class DistanceBias {
 public:
  // Parameter `name`.weight [buckets, heads], for texts of at most `most` tokens. From `farthest` on, all
  // distances share the last bucket.
  DistanceBias(const std::string& name, int64_t buckets, int64_t farthest, int64_t heads, int64_t most,
               Builder& builder)
      : buckets_(buckets), farthest_(farthest), most_(most), table_(builder.table(name, buckets, heads)) {}

  // [heads, 2 * longest - 1]: added to the scores at key position - query position + longest - 1.
  const at::Tensor& values(const Pass& pass) const;
  // Zeros that a layer's backward adds to; undefined if the bias is frozen.
  at::Tensor zeroGradient(const Pass& pass) const;
  void addGradient(const at::Tensor& gradient, const Pass& pass) const;

 private:
  // int64 [2 * longest - 1]: the bucket of each distance.
  at::Tensor bucketsOf(const Pass& pass) const;

  int64_t buckets_, farthest_, most_;
  ParameterId table_;
  mutable at::Tensor all_;  // the buckets of every distance, once a pass has asked for some
};

}  // namespace gradcache
