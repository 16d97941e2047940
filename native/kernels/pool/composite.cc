#include "kernels/pool/versions.h"

namespace gradcache::kernels::composite {

namespace {

at::Tensor starts(const Sequences& sequences) { return sequences.deviceOffsets.slice(0, 0, -1); }
at::Tensor ends(const Sequences& sequences) { return sequences.deviceOffsets.slice(0, 1); }
at::Tensor lengths(const Sequences& sequences) { return sequences.deviceOffsets.diff().to(at::kLong); }

// The token of each sequence that cls or last pooling selects.
at::Tensor tokens(const Sequences& sequences, Pooling pooling) {
  return pooling == Pooling::kCls ? starts(sequences) : ends(sequences).sub(1);
}

// The largest values and their tokens. Padding repeats a sequence's first token, which changes no maximum.
Pooled largest(const at::Tensor& x, const Sequences& sequences) {
  at::Tensor first = starts(sequences).unsqueeze(1);
  at::Tensor place = at::arange(sequences.longest, first.options()).unsqueeze(0);
  at::Tensor rows = at::where(place.lt(lengths(sequences).unsqueeze(1)), first.add(place), first);
  auto [y, which] =
      x.index_select(0, rows.view({-1})).view({rows.size(0), sequences.longest, x.size(1)}).max(1);
  return {y, {}, rows.gather(1, which)};
}

}  // namespace

Pooled pool(const at::Tensor& x, const Sequences& sequences, Pooling pooling, bool normalize) {
  const at::ScalarType type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  Pooled result;
  if (pooling == Pooling::kMean) {
    result.y =
        at::segment_reduce(x.to(type), "mean", lengths(sequences), {}, {}, /*axis=*/0, /*unsafe=*/true);
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
  if (pooling == Pooling::kMean) {
    at::Tensor length = lengths(sequences);
    return at::repeat_interleave(gradient.div(length.unsqueeze(1)).to(type), length, 0, count);
  }
  at::Tensor dx = at::zeros({count, dy.size(1)}, dy.options().dtype(type));
  if (pooling == Pooling::kMax) return dx.scatter_(0, saved.argmax.to(at::kLong), gradient.to(type));
  return dx.index_copy_(0, tokens(sequences, pooling).to(at::kLong), gradient.to(type));
}

}  // namespace gradcache::kernels::composite
