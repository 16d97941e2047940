#include <algorithm>
#include <cmath>

#include "kernels/attention/versions.h"
#include "kernels/dropout/dropout.h"
#include "kernels/rows/versions.h"

namespace gradcache::kernels::composite {

namespace {

// The most pairs of tokens, in all heads, at once, unless one sequence has more: a few tensors of 64 MiB in
// float32.
constexpr int64_t kMostPairs = int64_t{1} << 24;

// Sequences that follow each other, side by side in a rectangle [n, longest] of token numbers.
struct Rectangle {
  int64_t firstToken, count;  // its tokens are these of the chunk
  // int64 [n, longest], counted from firstToken. Places after a sequence's end hold its last token, so that
  // sequences do not mix.
  at::Tensor tokens;
  // Undefined where every place holds a token.
  at::Tensor present;  // bool [n, longest]
  at::Tensor places;   // int64 [count]: where each token lies in the flattened rectangle
};

// The rectangle of sequences [first, last), computed on the device without waiting for it.
Rectangle rectangle(const Sequences& sequences, int64_t first, int64_t last, int64_t longest) {
  const int64_t firstToken = sequences.offsets[first], count = sequences.offsets[last] - firstToken;
  at::Tensor offsets =
      sequences.deviceOffsets.narrow(0, first, last - first + 1).to(at::kLong).sub(firstToken);
  at::Tensor numbers = at::arange(count, offsets.options());
  if (count == (last - first) * longest) return {firstToken, count, numbers.view({-1, longest}), {}, {}};
  at::Tensor begins = offsets.narrow(0, 0, last - first), ends = offsets.narrow(0, 1, last - first);
  at::Tensor tokens = begins.unsqueeze(1).add(at::arange(longest, offsets.options()).unsqueeze(0));
  at::Tensor present = tokens.lt(ends.unsqueeze(1));
  at::Tensor owner = at::searchsorted(ends, numbers, /*out_int32=*/false, /*right=*/true);
  at::Tensor places = owner.mul(longest).add(numbers).sub(begins.index_select(0, owner));
  return {firstToken, count, at::minimum(tokens, ends.unsqueeze(1).sub(1)), present, places};
}

// Visits all sequences in rectangles of at most kMostPairs pairs, or of one longer sequence. A chunk's
// sequences are sorted by length, so rectangles are almost full.
template <class Visit>
void inRectangles(const Sequences& sequences, int64_t heads, Visit visit) {
  const int64_t n = static_cast<int64_t>(sequences.offsets.size()) - 1;
  for (int64_t first = 0, last = 0; first < n; first = last) {
    int64_t longest = 0;
    for (; last < n; ++last) {
      const int64_t length = sequences.offsets[last + 1] - sequences.offsets[last];
      const int64_t side = std::max(longest, length);
      if (last > first && (last + 1 - first) * heads * side * side > kMostPairs) break;
      longest = side;
    }
    visit(rectangle(sequences, first, last, longest));
  }
}

// rows [count, heads * d] as [n, heads, longest, d]; places behind a sequence hold its last token's row.
at::Tensor spread(const at::Tensor& rows, const Rectangle& shape, int64_t heads) {
  at::Tensor padded = shape.present.defined() ? rows.index_select(0, shape.tokens.view({-1})) : rows;
  return padded.view({shape.tokens.size(0), shape.tokens.size(1), heads, -1}).transpose(1, 2);
}

at::Tensor gather(const at::Tensor& padded, const Rectangle& shape) {
  at::Tensor flat = padded.transpose(1, 2).reshape({shape.tokens.numel(), -1});
  return shape.present.defined() ? flat.index_select(0, shape.places) : flat;
}

double scaleOf(const at::Tensor& qkv, int64_t heads) {
  return 1.0 / std::sqrt(static_cast<double>(qkv.size(1) / 3 / heads));
}

// [longest * longest] of key - query, as columns of a distance bias or its gradient: distance 0 is the middle
at::Tensor distances(int64_t longest, const at::Tensor& distanceBias) {
  at::Tensor place = at::arange(longest, distanceBias.options().dtype(at::kLong));
  return place.unsqueeze(0).sub(place.unsqueeze(1)).add(distanceBias.size(1) / 2).view({-1});
}

// The tokens' numbers in the chunk, which dropout counts by: [n, heads, longest].
at::Tensor numbers(const Rectangle& shape, int64_t heads) {
  return shape.tokens.view({-1, 1, shape.tokens.size(1)})
      .add(shape.firstToken)
      .mul(heads)
      .add(at::arange(heads, shape.tokens.options()).view({1, heads, 1}));
}

// Softmax over the keys, [n, heads, longest, longest].
at::Tensor probabilities(const at::Tensor& q, const at::Tensor& k, const Rectangle& shape,
                         const at::Tensor& distanceBias) {
  at::Tensor scores = at::matmul(q, k.transpose(2, 3));
  if (distanceBias.defined()) {
    scores.add_(distanceBias.index_select(1, distances(shape.tokens.size(1), distanceBias))
                    .view({1, q.size(1), q.size(2), q.size(2)})
                    .to(scores.scalar_type()));
  }
  if (shape.present.defined())
    scores.masked_fill_(shape.present.logical_not().view({-1, 1, 1, shape.tokens.size(1)}), -INFINITY);
  return at::softmax(scores, 3);
}

// Values for all pairs of tokens in backward, [n, heads, longest, longest].
struct Pairs {
  at::Tensor q, k, dout;  // q with the scale of the scores
  at::Tensor p;           // probabilities before the dropout
  at::Tensor dscores;
};

Pairs pairsOf(const Rectangle& shape, const at::Tensor& dout, const at::Tensor& qkv, int64_t heads,
              const at::Tensor& distanceBias, const DropoutKey& key) {
  Pairs pairs;
  auto parts = qkv.narrow(0, shape.firstToken, shape.count).chunk(3, 1);
  pairs.q = spread(parts[0], shape, heads).mul(scaleOf(qkv, heads));
  pairs.k = spread(parts[1], shape, heads);
  pairs.dout = spread(dout.narrow(0, shape.firstToken, shape.count), shape, heads);
  pairs.p = probabilities(pairs.q, pairs.k, shape, distanceBias);
  if (shape.present.defined()) {
    // Places without a query have gradient zero, but a bias can make their rows of p NaN.
    at::Tensor empty = shape.present.logical_not().view({-1, 1, shape.tokens.size(1), 1});
    pairs.dout = pairs.dout.masked_fill(empty, 0);
    if (distanceBias.defined()) pairs.p.masked_fill_(empty, 0);
  }
  at::Tensor dp = at::matmul(pairs.dout, spread(parts[2], shape, heads).transpose(2, 3));
  if (key.active()) dp = kernels::dropoutOfRows(dp, numbers(shape, heads), key);
  pairs.dscores = at::_softmax_backward_data(dp, pairs.p, 3, dp.scalar_type());
  return pairs;
}

void addByDistance(const at::Tensor& gradient, const at::Tensor& dscores, int64_t heads) {
  at::Tensor byPair = dscores.sum({0}, false, gradient.scalar_type()).view({heads, -1});
  // Transposed, because addRows adds in a fixed order where index_add does not.
  at::Tensor byDistance = at::zeros({gradient.size(1), heads}, gradient.options());
  addRows(byDistance, distances(dscores.size(3), gradient), byPair.t().contiguous());
  gradient.add_(byDistance.t());
}

}  // namespace

Attention attention(const at::Tensor& qkv, const Sequences& sequences, int64_t heads,
                    const at::Tensor& distanceBias, const DropoutKey& key) {
  at::Tensor out = at::empty({qkv.size(0), qkv.size(1) / 3}, qkv.options());
  inRectangles(sequences, heads, [&](const Rectangle& shape) {
    auto parts = qkv.narrow(0, shape.firstToken, shape.count).chunk(3, 1);
    at::Tensor q = spread(parts[0], shape, heads).mul(scaleOf(qkv, heads)),
               k = spread(parts[1], shape, heads), v = spread(parts[2], shape, heads);
    at::Tensor p = probabilities(q, k, shape, distanceBias);
    if (key.active()) p = kernels::dropoutOfRows(p, numbers(shape, heads), key);
    out.narrow(0, shape.firstToken, shape.count).copy_(gather(at::matmul(p, v), shape));
  });
  return {out, {}};
}

at::Tensor attentionBackward(const at::Tensor& dout, const at::Tensor& qkv, const Sequences& sequences,
                             int64_t heads, const at::Tensor& distanceBias, const DropoutKey& key,
                             const at::Tensor& distanceBiasGradient) {
  at::Tensor dqkv = at::empty(qkv.sizes(), qkv.options());
  inRectangles(sequences, heads, [&](const Rectangle& shape) {
    Pairs pairs = pairsOf(shape, dout, qkv, heads, distanceBias, key);
    if (distanceBiasGradient.defined()) addByDistance(distanceBiasGradient, pairs.dscores, heads);
    auto parts = dqkv.narrow(0, shape.firstToken, shape.count).chunk(3, 1);
    parts[0].copy_(gather(at::matmul(pairs.dscores, pairs.k).mul(scaleOf(qkv, heads)), shape));
    parts[1].copy_(gather(at::matmul(pairs.dscores.transpose(2, 3), pairs.q), shape));
    pairs.dscores.reset();
    at::Tensor p = key.active() ? kernels::dropoutOfRows(pairs.p, numbers(shape, heads), key) : pairs.p;
    parts[2].copy_(gather(at::matmul(p.transpose(2, 3), pairs.dout), shape));
  });
  return dqkv;
}

void addDistanceBiasGradient(const at::Tensor& gradient, const at::Tensor& dout, const at::Tensor& qkv,
                             const Sequences& sequences, int64_t heads, const at::Tensor& distanceBias,
                             const DropoutKey& key) {
  inRectangles(sequences, heads, [&](const Rectangle& shape) {
    addByDistance(gradient, pairsOf(shape, dout, qkv, heads, distanceBias, key).dscores, heads);
  });
}

}  // namespace gradcache::kernels::composite
