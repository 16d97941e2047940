#include "language/clusters.h"

#include <algorithm>

#include "core/error.h"

namespace gradcache {

std::vector<Cluster> clustersFrom(const Settings& settings) {
  const int64_t vocabulary = settings.size("vocabulary");
  const int64_t divisor = settings.size("divisor");
  int64_t width = settings.size("embedding");
  std::vector<int64_t> ends = settings.integers("cutoffs");
  ends.push_back(vocabulary);
  std::vector<Cluster> clusters;
  int64_t first = 0;
  for (const int64_t end : ends) {
    require(end > first, "CHECKPOINT", "the cut-offs ", c10::IntArrayRef(ends.data(), ends.size() - 1),
            " are not in ascending order between 0 and the vocabulary of ", vocabulary);
    require(width > 0, "CHECKPOINT", "a divisor of ", divisor, " leaves the vectors of words from ", first,
            " on without a column");
    clusters.push_back({first, end - first, width});
    first = end;
    width /= divisor;
  }
  return clusters;
}

ClusteredIds sortedOut(const std::vector<int32_t>& ids, const std::vector<Cluster>& clusters,
                       at::Device device) {
  const auto clusterOf = [&](int32_t id) {
    const auto after = std::upper_bound(clusters.begin(), clusters.end(), int64_t{id},
                                        [](int64_t word, const Cluster& c) { return word < c.first; });
    return static_cast<size_t>(after - clusters.begin()) - 1;
  };
  std::vector<int64_t> counts(clusters.size());
  int64_t all = 0;
  for (const int32_t id : ids) {
    if (id < 0) continue;
    ++counts[clusterOf(id)];
    ++all;
  }
  // Rows and words of each cluster, then those of the first softmax, in one buffer for one copy.
  at::Tensor staged =
      at::empty({4 * all}, at::TensorOptions().dtype(at::kLong).pinned_memory(device.is_cuda()));
  auto* data = staged.mutable_data_ptr<int64_t>();
  std::vector<int64_t*> next;
  int64_t begin = 0;
  for (const int64_t count : counts) {
    next.push_back(data + begin);
    begin += 2 * count;
  }
  int64_t* every = data + 2 * all;
  for (size_t t = 0; t < ids.size(); ++t) {
    if (ids[t] < 0) continue;
    const size_t k = clusterOf(ids[t]);
    next[k][0] = every[0] = static_cast<int64_t>(t);
    next[k][counts[k]] = ids[t] - clusters[k].first;
    every[all] = k == 0 ? ids[t] : clusters[0].size + static_cast<int64_t>(k) - 1;
    ++next[k];
    ++every;
  }
  staged = staged.to(device, /*non_blocking=*/true);
  const auto part = [&](int64_t from, int64_t count) {
    const bool everyRow = count == static_cast<int64_t>(ids.size());
    return ClusteredIds::Part{everyRow ? at::Tensor() : staged.narrow(0, from, count),
                              staged.narrow(0, from + count, count)};
  };
  ClusteredIds sorted;
  begin = 0;
  for (const int64_t count : counts) {
    sorted.clusters.push_back(part(begin, count));
    begin += 2 * count;
  }
  sorted.first = part(2 * all, all);
  return sorted;
}

}  // namespace gradcache
