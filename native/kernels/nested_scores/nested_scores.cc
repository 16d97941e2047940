#include "kernels/nested_scores/nested_scores.h"

#include "kernels/cuda/library.h"
#include "kernels/nested_scores/versions.h"

namespace gradcache::kernels {

bool takesNested(const at::Device& device, const std::vector<int64_t>& lengths) {
  if (lengths.size() > GRADCACHE_MOST_LENGTHS) return false;
  if (device.is_cuda()) return cuda::libraryIsOpen() && cuda::takesNestedLengths(lengths);
  return device.is_cpu();
}

void addNestedSums(const NestedScores& scores, const at::Tensor& rows, const at::Tensor& columns) {
  rows.is_cuda() ? cuda::addNestedSums(scores, rows, columns)
                 : composite::addNestedSums(scores, rows, columns);
}

double nestedReference(const at::Device& device, double bound) {
  return device.is_cuda() ? cuda::nestedReference(bound) : 0;
}

void nestedTiles(const NestedScores& scores, const NestedGradients& gradients, const at::Tensor& tiles,
                 const at::Tensor& rowTurns, const at::Tensor& columnTurns) {
  tiles.is_cuda() ? cuda::nestedTiles(scores, gradients, tiles, rowTurns, columnTurns)
                  : composite::nestedTiles(scores, gradients, tiles, rowTurns, columnTurns);
}

}  // namespace gradcache::kernels
