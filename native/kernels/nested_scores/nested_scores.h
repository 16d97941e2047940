// Scores (kernels/scores) at several lengths of the same rows, built up from one length to the next: what a
// softmax at each of them needs. losses/nested_levels.h sweeps over them.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "kernels/scores/scores.h"

namespace gradcache::kernels {

struct NestedScores {
  // Of whole rows. A score at a length is the factor times the dot product of that many numbers, times
  // rowFactors[k, i] and columnFactors[k, j], float32.
  Scores scores;
  std::vector<int64_t> lengths;  // rising; the last is the width
  at::Tensor rowFactors, columnFactors;
};

// Sums and powers are taken from one reference, and are float32 where no score is beyond this, nor below
// minus this.
constexpr double kMostNestedBound = 72;

// Whether a device takes these lengths: the CPU at most eight; a GPU if it is of compute capability 9.0, and
// each is a multiple of 64.
bool takesNested(const at::Device& device, const std::vector<int64_t>& lengths);

// Adds to rows [lengths, r], and columns [lengths, c] where it is defined, sums of exponentials, float32.
void addNestedSums(const NestedScores& scores, const at::Tensor& rows, const at::Tensor& columns);
// Their logarithm to base 2 is so much too small, for scores up to `bound`.
double nestedReference(const at::Device& device, double bound);

// The gradients of softmaxes in half precision, as products need them.
struct NestedGradients {
  // A bit for each length whose tile is the sum of its own numbers and those of the next length. Not the
  // last, nor two in a row.
  uint32_t joined = 0;
  std::vector<double> weights;  // of lengths, not negative
  // float64 [lengths, r] and [lengths, c]; the latter may be undefined. Infinity leaves a softmax out. With
  // both, all others are within kMostPower powers of two of the reference.
  at::Tensor rowNormalizers, columnNormalizers;
};
constexpr double kMostPower = 120;

// How many rows of memory the tile of `rows` rows takes.
constexpr int64_t nestedTileRows(int64_t rows) { return (rows + 255) / 256 * 256; }
// tiles [lengths, nestedTileRows(r), at least c up to a multiple of 8] of the operands' type: weight *
// (exp(score - row's normalizer) + exp(score - column's normalizer)) * row's factor * column's factor, which
// is dL/d(dot product) over the scale. Adds to rowTurns [lengths, r] and columnTurns [lengths, c] what that
// times the dot product adds up to, at the lengths that are joined.
void nestedTiles(const NestedScores& scores, const NestedGradients& gradients, const at::Tensor& tiles,
                 const at::Tensor& rowTurns, const at::Tensor& columnTurns);

}  // namespace gradcache::kernels
