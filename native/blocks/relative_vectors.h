// The vectors of distances that all layers of DeBERTa share (He et al. 2021), with a norm or without.
#pragma once

#include <optional>
#include <string>

#include "model/builder.h"
#include "model/normalization.h"

namespace gradcache {

class RelativeVectors {
 public:
  struct Options {
    std::string name, norm;  // without ".weight" and ".bias"; without a norm that is empty
    int64_t span;            // the table has a row for each distance from -span to span - 1, or its bucket
    // From the middle of the buckets on, distances share buckets whose sizes grow up to this distance.
    // 0: each distance has its own row.
    int64_t farthest = 0;
    int64_t width;
    double normEpsilon = 0;
    int64_t most;  // the longest text
  };
  // Parameters `name`.weight [2 span, width], and `norm`.weight and `norm`.bias [width].
  RelativeVectors(const Options& options, Builder& builder);

  // [2 span, width].
  const at::Tensor& rows(const Pass& pass) const;
  void addGradient(const at::Tensor& drows, const Pass& pass) const;
  // int64 [2 * longest - 1]: the row of query position - key position, from -(longest - 1) on.
  at::Tensor rowOfDistance(const Pass& pass) const;
  int64_t width() const { return options_.width; }

 private:
  Options options_;
  ParameterId table_;
  std::optional<Normalization> norm_;
  mutable at::Tensor all_;  // the rows of every distance, once a pass has asked for some
};

}  // namespace gradcache
