// The words of a vocabulary in clusters, the most frequent words first. The vectors of a later cluster are
// narrower (Grave et al. 2017, Baevski & Auli 2019). A vocabulary without cut-offs is one cluster.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "core/settings.h"
#include "model/parameters.h"

namespace gradcache {

struct Cluster {
  int64_t first = 0, size = 0;  // its words
  int64_t width = 0;            // of their vectors
};

// From the settings vocabulary, cutoffs, embedding and divisor. Throws CHECKPOINT for cut-offs that are not
// in order, and for vectors that a divisor leaves without a column.
std::vector<Cluster> clustersFrom(const Settings& settings);

// What an embedding or a softmax knows of each cluster.
struct WordMatrices {
  // [size, width]. In a softmax, the first cluster's has a further row for each other cluster.
  std::vector<ParameterId> vectors;
  // [width of the model's rows, width], where the two differ.
  std::vector<std::optional<ParameterId>> projections;
};

// Word ids by cluster. They are sorted out on the host, so that no device is asked how many there are.
struct ClusteredIds {
  struct Part {
    at::Tensor rows;   // int64 [n]: places among all ids; undefined: every place
    at::Tensor words;  // int64 [n]
    bool empty() const { return words.numel() == 0; }
  };
  // For each cluster its ids, counted from its first word.
  std::vector<Part> clusters;
  // What the first softmax tells apart: the words of the first cluster, then the other clusters.
  Part first;
};

// Leaves out negative ids.
ClusteredIds sortedOut(const std::vector<int32_t>& ids, const std::vector<Cluster>& clusters,
                       at::Device device);

// The rows of x that a part names.
inline at::Tensor rowsOf(const at::Tensor& x, const ClusteredIds::Part& part) {
  return part.rows.defined() ? x.index_select(0, part.rows) : x;
}

}  // namespace gradcache
