#include <numbers>

#include "kernels/cuda/rows.h"
#include "kernels/cuda/scores.h"
#include "kernels/nested_scores/versions.h"

namespace gradcache::kernels::cuda {

namespace {

GradcacheLengths describeLengths(const NestedScores& scores, uint32_t joined = 0) {
  GradcacheLengths l = {};
  l.count = static_cast<int32_t>(scores.lengths.size());
  l.joined = joined;
  for (int32_t k = 0; k < l.count; ++k) l.lengths[k] = scores.lengths[k];
  l.rowFactors = floats(scores.rowFactors);
  l.columnFactors = floats(scores.columnFactors);
  l.rowFactorStride = scores.rowFactors.stride(0);
  l.columnFactorStride = scores.columnFactors.stride(0);
  return l;
}

at::Tensor inPowers(const at::Tensor& normalizers) {
  return normalizers.mul(std::numbers::log2e).to(at::kFloat).contiguous();
}

}  // namespace

bool takesNestedLengths(const std::vector<int64_t>& lengths) {
  GradcacheLengths l = {};
  l.count = static_cast<int32_t>(lengths.size());
  for (int32_t k = 0; k < l.count; ++k) l.lengths[k] = lengths[k];
  return library().nestedTakes(&l) != 0;
}

void addNestedSums(const NestedScores& scores, const at::Tensor& rows, const at::Tensor& columns) {
  const GradcacheScores s = describe(scores.scores);
  const GradcacheLengths l = describeLengths(scores);
  const at::Tensor work =
      scratch(library().nestedStatisticsScratch(&s, &l, columns.defined()), scores.scores.rows);
  check(library().nestedStatistics(&s, &l, floats(rows), rows.stride(0),
                                   columns.defined() ? floats(columns) : nullptr,
                                   columns.defined() ? columns.stride(0) : 0, output(work)),
        "sums of scores at several lengths");
}

double nestedReference(double bound) { return library().nestedReference(static_cast<float>(bound)); }

void nestedTiles(const NestedScores& scores, const NestedGradients& gradients, const at::Tensor& tiles,
                 const at::Tensor& rowTurns, const at::Tensor& columnTurns) {
  const GradcacheScores s = describe(scores.scores);
  const GradcacheLengths l = describeLengths(scores, gradients.joined);
  const at::Tensor rows = inPowers(gradients.rowNormalizers);
  at::Tensor columns;
  if (gradients.columnNormalizers.defined()) columns = inPowers(gradients.columnNormalizers);
  GradcacheNested n = {};
  for (size_t k = 0; k < gradients.weights.size(); ++k)
    n.weights.of[k] = static_cast<float>(gradients.weights[k]);
  n.rowNormalizers = floats(rows);
  n.rowNormalizerStride = rows.stride(0);
  if (columns.defined()) {
    n.columnNormalizers = floats(columns);
    n.columnNormalizerStride = columns.stride(0);
  }
  n.tiles = output(tiles);
  n.stride = tiles.stride(1);
  n.rowTurns = floats(rowTurns);
  n.rowTurnStride = rowTurns.stride(0);
  n.columnTurns = floats(columnTurns);
  n.columnTurnStride = columnTurns.stride(0);
  const at::Tensor work = scratch(library().nestedTilesScratch(&s, &l), scores.scores.rows);
  check(library().nestedTiles(&s, &l, &n, output(work)), "gradients of scores at several lengths");
}

}  // namespace gradcache::kernels::cuda
