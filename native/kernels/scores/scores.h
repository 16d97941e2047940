// Scores of rows with columns, factor * <row, column>, of half-precision operands with sums in float32: what
// a softmax over them or sigmoids need, without a matrix of them. losses/rectangles.h sweeps over them.
#pragma once

#include <ATen/ATen.h>

#include <limits>
#include <optional>

namespace gradcache::kernels {

// A rectangle of a matrix of scores.
struct Scores {
  at::Tensor rows, columns;  // [r, w] and [c, w], contiguous, float16 or bfloat16; w a multiple of 8
  double factor = 1;         // above 0
  // About the largest absolute score. One that is too small costs time, and changes nothing else.
  double bound = std::numeric_limits<double>::infinity();
  std::optional<int64_t> leftOut;  // the pairs (i, i + leftOut) are left out
  at::Tensor targets;              // int32 [k, r]: so are (i, targets[n][i] - firstColumn); undefined: none
  int64_t firstColumn = 0;
};

// What is made of the scores of a rectangle: [r, c] of the operands' type, rows apart by a multiple of 8.
struct ScoreTile {
  at::Tensor whole;
  at::Tensor rest;  // of float16: what its rounding takes from `whole`; undefined: that is lost
};

// What width such operands have that hold `width` numbers, the others 0.
constexpr int64_t paddedWidth(int64_t width) { return (width + 7) / 8 * 8; }

// Sums of exp(score) over `count` rows or columns, before there are any.
at::Tensor noScoreSums(int64_t count, const at::Device& device);
// Adds to the sums of the rectangle's rows, and where `columns` is defined to those of its columns.
void addScoreSums(const Scores& scores, const at::Tensor& rows, const at::Tensor& columns);
// log sum exp, float64 [count]; minus infinity where nothing was added.
at::Tensor logOfScoreSums(const at::Tensor& sums);

// exp(score - rowNormalizers[i]) + exp(score - columnNormalizers[j]). Normalizers are float64; those of
// columns may be undefined. One of infinity leaves its part out.
void scoreProbabilities(const Scores& scores, const at::Tensor& rowNormalizers,
                        const at::Tensor& columnNormalizers, const ScoreTile& target);

// What the rows of a rectangle add up to, float64 [r].
struct SigmoidSums {
  at::Tensor losses;    // of log(1 + exp(score + bias))
  at::Tensor sigmoids;  // of 1 / (1 + exp(-score - bias))
};
// weight / (1 + exp(-score - bias)), 0 for pairs that are left out.
SigmoidSums scoreSigmoids(const Scores& scores, double bias, double weight, const ScoreTile& target);

// target += factor * left right, of half-precision factors with sums in float32, as target is.
void addHalfProduct(at::Tensor target, const at::Tensor& left, const at::Tensor& right, double factor);
// left right in float32.
at::Tensor halfProduct(const at::Tensor& left, const at::Tensor& right);

}  // namespace gradcache::kernels
