#include "kernels/pool/versions.h"

namespace gradcache::kernels::composite {

namespace {

bool isAverage(Pooling pooling) {
  return pooling == Pooling::kMean || pooling == Pooling::kMeanSqrtLength ||
         pooling == Pooling::kWeightedMean;
}

// The first token of each sequence that is not skipped.
at::Tensor starts(const Sequences& sequences) {
  at::Tensor first = sequences.deviceOffsets.slice(0, 0, -1);
  return sequences.skipped == 0 ? first : first.add(sequences.skipped);
}
at::Tensor ends(const Sequences& sequences) { return sequences.deviceOffsets.slice(0, 1); }
// With the tokens that are skipped.
at::Tensor lengths(const Sequences& sequences) { return sequences.deviceOffsets.diff().to(at::kLong); }

// The token of each sequence that cls or last pooling selects.
at::Tensor tokens(const Sequences& sequences, Pooling pooling) {
  return pooling == Pooling::kCls ? starts(sequences) : ends(sequences).sub(1);
}

// The largest values and their tokens. Padding repeats a sequence's first token, which changes no maximum.
Pooled largest(const at::Tensor& x, const Sequences& sequences) {
  at::Tensor first = starts(sequences).unsqueeze(1);
  at::Tensor place = at::arange(sequences.longest, first.options()).unsqueeze(0);
  at::Tensor rows =
      at::where(place.lt(lengths(sequences).sub(sequences.skipped).unsqueeze(1)), first.add(place), first);
  auto [y, which] =
      x.index_select(0, rows.view({-1})).view({rows.size(0), sequences.longest, x.size(1)}).max(1);
  return {y, {}, rows.gather(1, which)};
}

at::Tensor sums(const at::Tensor& x, const Sequences& sequences) {
  return at::segment_reduce(x, "sum", lengths(sequences), {}, {}, /*axis=*/0, /*unsafe=*/true);
}

// Of an average: the weight of each token [T, 1], and what the weighted sum of each sequence is divided by
// [sequences, 1].
struct Weights {
  at::Tensor ofTokens, divisors;

  static Weights of(const Sequences& sequences, Pooling pooling, at::ScalarType type) {
    const int64_t count = sequences.offsets.back();
    at::Tensor length = lengths(sequences);
    at::Tensor begin = sequences.deviceOffsets.slice(0, 0, -1).to(at::kLong);
    at::Tensor place =
        at::arange(count, length.options()).sub(at::repeat_interleave(begin, length, 0, count)).add(1);
    at::Tensor counts = place.gt(sequences.skipped);
    at::Tensor weights =
        (pooling == Pooling::kWeightedMean ? place.mul(counts) : counts).to(type).unsqueeze(1);
    at::Tensor total = sums(weights, sequences);
    return {weights, pooling == Pooling::kMeanSqrtLength ? total.sqrt() : total};
  }
};

}  // namespace

Pooled pool(const at::Tensor& x, const Sequences& sequences, Pooling pooling, bool normalize) {
  const at::ScalarType type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  Pooled result;
  if (isAverage(pooling)) {
    const Weights weights = Weights::of(sequences, pooling, type);
    result.y = sums(x.to(type).mul(weights.ofTokens), sequences).div(weights.divisors);
  } else if (pooling == Pooling::kMax) {
    result = largest(x, sequences);
  } else {
    result.y = x.index_select(0, tokens(sequences, pooling));
  }
  result.y = result.y.to(type);
  if (normalize) {
    result.norms = at::linalg_vector_norm(result.y, 2, at::IntArrayRef{1});
    result.y = result.y.div(result.norms.clamp_min(kLeastNorm).unsqueeze(1));
  }
  return result;
}

at::Tensor poolBackward(const at::Tensor& dy, const Pooled& saved, const Sequences& sequences,
                        Pooling pooling, at::ScalarType type) {
  at::Tensor gradient = dy;
  if (saved.norms.defined()) {
    // A norm below the least was replaced by a constant, so it has no gradient.
    at::Tensor along = dy.mul(saved.y).sum(1).masked_fill(saved.norms.lt(kLeastNorm), 0);
    gradient = dy.sub(saved.y.mul(along.unsqueeze(1))).div(saved.norms.clamp_min(kLeastNorm).unsqueeze(1));
  }
  const int64_t count = sequences.offsets.back();
  if (isAverage(pooling)) {
    const Weights weights = Weights::of(sequences, pooling, dy.scalar_type());
    at::Tensor ofTokens = at::repeat_interleave(gradient.div(weights.divisors), lengths(sequences), 0, count);
    return ofTokens.mul_(weights.ofTokens).to(type);
  }
  at::Tensor dx = at::zeros({count, dy.size(1)}, dy.options().dtype(type));
  if (pooling == Pooling::kMax) return dx.scatter_(0, saved.argmax.to(at::kLong), gradient.to(type));
  return dx.index_copy_(0, tokens(sequences, pooling).to(at::kLong), gradient.to(type));
}

}  // namespace gradcache::kernels::composite
