#include "losses/documents.h"

#include <algorithm>

#include "core/error.h"

namespace gradcache {

Documents::Documents(const Settings& settings) : given_(settings.has("owners")) {
  if (given_) owners_ = settings.integers("owners");
}

void Documents::check(const Similarity& similarity) const {
  if (!given_) return;
  int64_t negatives = 0;
  for (int64_t tower = 2; tower < similarity.towers(); ++tower) negatives += similarity.rows(tower);
  require(static_cast<int64_t>(owners_.size()) == negatives, "SHAPE", owners_.size(), " owners for ",
          negatives, " hard negatives");
}

Chosen Documents::hardNegatives(const Similarity& similarity, const Chosen& positives) const {
  return merged(similarity, positives, false);
}

Chosen Documents::all(const Similarity& similarity, const Chosen& positives) const {
  return merged(similarity, positives, true);
}

std::vector<std::vector<int64_t>> Documents::ownedBy(const Similarity& similarity) const {
  const int64_t anchors = similarity.rows(0);
  std::vector<std::vector<int64_t>> owned(anchors);
  int64_t candidate = similarity.rows(1);
  size_t next = 0;
  for (int64_t tower = 2; tower < similarity.towers(); ++tower) {
    const int64_t rows = similarity.rows(tower);
    require(given_ || rows == anchors, "SHAPE", "tower ", tower, " has ", rows, " hard negatives for ",
            anchors, " anchors: say with `owners` which anchor each belongs to");
    for (int64_t row = 0; row < rows; ++row, ++candidate) {
      const int64_t owner = given_ ? owners_[next++] : row;
      require(owner >= -1 && owner < anchors, "SHAPE", "owner ", owner, " is not one of the ", anchors,
              " anchors");
      if (owner >= 0) owned[owner].push_back(candidate);
    }
  }
  return owned;
}

Chosen Documents::merged(const Similarity& similarity, const Chosen& positives, bool withPositives) const {
  std::vector<std::vector<int64_t>> lists = ownedBy(similarity);
  const at::Tensor columns = positives.columns().to(at::kCPU).contiguous();
  const auto* targets = columns.const_data_ptr<int64_t>();
  const int64_t width = columns.size(1);
  for (size_t row = 0; row < lists.size(); ++row) {
    std::vector<int64_t>& list = lists[row];
    for (const int64_t* target = targets + row * width; target < targets + (row + 1) * width; ++target) {
      std::erase(list, *target);
      if (withPositives && *target >= 0) list.push_back(*target);
    }
  }
  return Chosen(lists, similarity.numbers());
}

}  // namespace gradcache
