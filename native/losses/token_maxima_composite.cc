// Late interaction by libtorch's operators. Documents of one length make the largest similarities one
// operator; a shorter one repeats its first token, which changes no maximum.
#include <algorithm>
#include <vector>

#include "losses/token_maxima.h"

namespace gradcache {

namespace {

at::Tensor onDevice(const std::vector<int64_t>& numbers, const at::Tensor& like) {
  return at::tensor(at::ArrayRef<int64_t>(numbers), at::kLong).to(like.device());
}

}  // namespace

void addByRow(const at::Tensor& sums, const int64_t* rowOf, const at::Tensor& values) {
  const int64_t tokens = values.size(0);
  if (tokens == 0) return;
  const int64_t first = rowOf[0];
  std::vector<int64_t> lengths(static_cast<size_t>(rowOf[tokens - 1] - first + 1), 0);
  for (int64_t t = 0; t < tokens; ++t) ++lengths[static_cast<size_t>(rowOf[t] - first)];
  const at::Tensor counts = onDevice(lengths, values);
  sums.narrow(0, first, static_cast<int64_t>(lengths.size()))
      .add_(at::segment_reduce(values, "sum", counts, {}, {}, /*axis=*/0, /*unsafe=*/true, /*initial=*/0));
}

void addMaximaComposite(const at::Tensor& similarities, const TextRange& documents, const Maxima& maxima) {
  int64_t longest = 0;
  for (int64_t k = 0; k < documents.count; ++k)
    longest = std::max(longest, documents.offsets[k + 1] - documents.offsets[k]);
  std::vector<int64_t> places, empty;
  for (int64_t k = 0; k < documents.count; ++k) {
    const int64_t begin = documents.offsets[k], length = documents.offsets[k + 1] - begin;
    for (int64_t u = 0; u < longest; ++u)
      places.push_back(length == 0 ? 0 : begin - documents.offsets[0] + (u < length ? u : 0));
    if (length == 0) empty.push_back(k);
  }
  const at::Tensor place = onDevice(places, similarities);
  const auto [values, which] =
      similarities.index_select(1, place).view({similarities.size(0), documents.count, longest}).max(2);
  const at::Tensor starts = at::arange(documents.count, which.options()).mul_(longest);
  at::Tensor tokens =
      place.index_select(0, which.add(starts).view({-1})).view_as(which).add_(documents.offsets[0]);
  at::Tensor wide = values.to(at::kDouble);
  if (!empty.empty()) {
    const at::Tensor columns = onDevice(empty, similarities);
    tokens.index_fill_(1, columns, -1);
    wide.index_fill_(1, columns, 0);
  }
  addByRow(maxima.scores, maxima.rowOf, wide);
  maxima.best.copy_(tokens);
}

void addThroughMaximaComposite(const Shares& shares, const at::Tensor& queries, const at::Tensor& documents,
                               const at::Tensor& ofQueries, const at::Tensor& ofDocuments, int64_t bytes) {
  const int64_t tokens = queries.size(0), width = documents.size(0);
  if (tokens == 0 || width == 0 || shares.shares.size(1) == 0) return;
  const at::Tensor row = onDevice({shares.rowOf, shares.rowOf + tokens}, queries);
  const int64_t rowBytes = width * static_cast<int64_t>(queries.element_size());
  const int64_t piece = std::clamp<int64_t>(bytes / rowBytes, 1, tokens);
  for (int64_t from = 0; from < tokens; from += piece) {
    const int64_t count = std::min(piece, tokens - from);
    const at::Tensor best = shares.best.narrow(0, from, count).to(at::kLong);
    const at::Tensor none = best.lt(0);
    // A token has the maxima of one document alone, so that all sums below have one summand besides zeros.
    const at::Tensor share = shares.shares.index_select(0, row.narrow(0, from, count)).masked_fill_(none, 0);
    const at::Tensor ofSimilarities =
        at::zeros({count, width}, queries.options())
            .scatter_add_(1, best.sub(shares.firstToken).masked_fill_(none, 0), share);
    ofQueries.narrow(0, from, count).addmm_(ofSimilarities, documents);
    ofDocuments.addmm_(ofSimilarities.t(), queries.narrow(0, from, count));
  }
}

}  // namespace gradcache
