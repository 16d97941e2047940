#include "language/tiled_softmax.h"

#include <algorithm>

#include "kernels/rows/rows.h"
#include "model/products.h"

namespace gradcache {

namespace {

// Logits of a tile. On a CPU few enough for its caches, on a GPU enough to keep it busy.
int64_t tileRows(const at::Tensor& vectors) {
  const int64_t logits = vectors.is_cuda() ? int64_t{1} << 24 : int64_t{1} << 20;
  return std::max<int64_t>(1, logits / vectors.size(0));
}

at::ScalarType wideType(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// Lengths of vectors [n, width] as [n, 1]; never 0, where a length has no derivative.
at::Tensor lengths(const at::Tensor& vectors) {
  return at::linalg_vector_norm(vectors, 2, at::IntArrayRef{1}, true).clamp_min(1e-12);
}

// What noise needs of the rows and of their targets' vectors.
struct Noise {
  at::Tensor rows, vectors;              // [n, width]
  at::Tensor rowLengths, vectorLengths;  // [n, 1]

  Noise(const at::Tensor& x, const at::Tensor& targets, const SoftmaxWeights& weights)
      : rows(x.to(wideType(x))),
        vectors(weights.vectors.index_select(0, targets).to(wideType(x))),
        rowLengths(lengths(rows)),
        vectorLengths(lengths(vectors)) {}
};

// The logits of a tile as the loss sees them.
at::Tensor tileLogits(const at::Tensor& rows, const at::Tensor& targets, const SoftmaxWeights& weights) {
  at::Tensor logits = softmaxLogits(rows, weights);
  if (weights.noise != 0) {
    const Noise noise(rows, targets, weights);
    logits.scatter_add_(1, targets.unsqueeze(1), noise.rowLengths * noise.vectorLengths * -weights.noise);
  }
  return logits;
}

template <class Work>
void overTiles(const at::Tensor& rows, const SoftmaxWeights& weights, const Work& work) {
  const int64_t tile = tileRows(weights.vectors);
  for (int64_t begin = 0; begin < rows.size(0); begin += tile)
    work(begin, std::min(tile, rows.size(0) - begin));
}

}  // namespace

at::Tensor softmaxLogits(const at::Tensor& rows, const SoftmaxWeights& weights) {
  at::Tensor logits = wideProduct(rows, weights.vectors);
  return weights.bias.defined() ? logits.add_(weights.bias.to(logits.scalar_type())) : logits;
}

SoftmaxLosses softmaxLosses(const at::Tensor& rows, const at::Tensor& targets,
                            const SoftmaxWeights& weights) {
  const auto options = rows.options().dtype(wideType(rows));
  SoftmaxLosses result{at::empty({rows.size(0)}, options), at::empty({rows.size(0)}, options)};
  overTiles(rows, weights, [&](int64_t begin, int64_t count) {
    const at::Tensor target = targets.narrow(0, begin, count);
    const at::Tensor logits = tileLogits(rows.narrow(0, begin, count), target, weights);
    at::Tensor normalizer = result.normalizer.narrow(0, begin, count);
    at::logsumexp_out(normalizer, logits, at::IntArrayRef{1});
    result.losses.narrow(0, begin, count)
        .copy_(normalizer - logits.gather(1, target.unsqueeze(1)).squeeze(1));
  });
  return result;
}

at::Tensor softmaxBackward(double seed, const at::Tensor& rows, const at::Tensor& targets,
                           const at::Tensor& normalizer, const SoftmaxWeights& weights,
                           const at::Tensor& vectorGradient, const at::Tensor& biasGradient) {
  at::Tensor gradient = at::empty_like(rows);
  overTiles(rows, weights, [&](int64_t begin, int64_t count) {
    const at::Tensor row = rows.narrow(0, begin, count);
    const at::Tensor target = targets.narrow(0, begin, count);
    // The probabilities, and after the next lines the gradient of the logits.
    at::Tensor slope =
        tileLogits(row, target, weights).sub_(normalizer.narrow(0, begin, count).unsqueeze(1)).exp_();
    const at::Tensor place = target.unsqueeze(1);
    slope.scatter_add_(1, place, at::full({count, 1}, -1, slope.options())).mul_(seed);
    if (biasGradient.defined()) kernels::addColumnSum(biasGradient, slope);
    const at::Tensor narrow = slope.to(rows.scalar_type());
    at::Tensor rowGradient = at::mm(narrow, weights.vectors);
    addProduct(vectorGradient, narrow, row);
    if (weights.noise != 0) {
      const Noise noise(row, target, weights);
      const at::Tensor lowered = slope.gather(1, place).mul_(-weights.noise);
      rowGradient.add_(lowered * noise.vectorLengths / noise.rowLengths * noise.rows);
      kernels::addRows(vectorGradient, target,
                       lowered * noise.rowLengths / noise.vectorLengths * noise.vectors);
    }
    gradient.narrow(0, begin, count).copy_(rowGradient);
  });
  return gradient;
}

}  // namespace gradcache
