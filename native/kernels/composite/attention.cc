#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/composite/composite.h"
#include "kernels/composite/dropout_factor.h"

namespace gradcache::kernels::composite {

namespace {

// Sequences side by side in a rectangle [n, longest] of token numbers, with a mask of the places that hold a
// token.
struct Rectangle {
  at::Tensor tokens;   // int64 [n, longest]; places without a token hold 0
  at::Tensor present;  // bool [n, longest]
  at::Tensor places;   // int64 [T]: where each token lies in the flattened rectangle
};

Rectangle rectangle(const Sequences& sequences, const at::Device& device) {
  const int64_t n = static_cast<int64_t>(sequences.offsets.size()) - 1;
  at::Tensor offsets = at::tensor(at::ArrayRef<int64_t>(sequences.offsets), at::kLong).to(device);
  at::Tensor begins = offsets.narrow(0, 0, n).unsqueeze(1), ends = offsets.narrow(0, 1, n).unsqueeze(1);
  at::Tensor tokens = begins.add(at::arange(sequences.longest, offsets.options()).unsqueeze(0));
  at::Tensor present = tokens.lt(ends);
  // Built on the host, where the lengths are known, so that no size is asked of the device.
  std::vector<int64_t> places;
  places.reserve(static_cast<size_t>(sequences.offsets.back()));
  for (int64_t s = 0; s < n; ++s) {
    const int64_t length = sequences.offsets[s + 1] - sequences.offsets[s];
    for (int64_t t = 0; t < length; ++t) places.push_back(s * sequences.longest + t);
  }
  return {tokens.where(present, at::zeros({}, offsets.options())), present,
          at::tensor(at::ArrayRef<int64_t>(places), at::kLong).to(device)};
}

// rows [T, heads * d] as [n, heads, longest, d], zero where there is no token.
at::Tensor spread(const at::Tensor& rows, const Rectangle& shape, int64_t heads) {
  at::Tensor padded = rows.index_select(0, shape.tokens.view({-1})).mul(shape.present.view({-1, 1}));
  return padded.view({shape.tokens.size(0), shape.tokens.size(1), heads, -1}).transpose(1, 2);
}

at::Tensor gather(const at::Tensor& padded, const Rectangle& shape) {
  at::Tensor flat = padded.transpose(1, 2).reshape({shape.tokens.numel(), -1});
  return flat.index_select(0, shape.places);
}

// [longest, longest] of key - query + longest - 1
at::Tensor distances(int64_t longest, const at::Device& device) {
  at::Tensor place = at::arange(longest, at::TensorOptions().dtype(at::kLong).device(device));
  return place.unsqueeze(0).sub(place.unsqueeze(1)).add(longest - 1);
}

at::Tensor dropoutFactors(const Rectangle& shape, int64_t firstToken, int64_t heads, const DropoutKey& key,
                          at::ScalarType type) {
  const auto options = shape.tokens.options();
  at::Tensor rows = shape.tokens.view({-1, 1, shape.tokens.size(1), 1})
                        .add(firstToken)
                        .mul(heads)
                        .add(at::arange(heads, options).view({1, heads, 1, 1}));
  at::Tensor columns = at::arange(shape.tokens.size(1), options).view({1, 1, 1, -1});
  return dropoutFactor(rows, columns, key, type);
}

at::Tensor scores(const at::Tensor& q, const at::Tensor& k, double scale, const Rectangle& shape,
                  const at::Tensor& distanceBias) {
  at::Tensor result = at::matmul(q, k.transpose(2, 3)).mul(scale);
  if (distanceBias.defined()) {
    at::Tensor places = distances(shape.tokens.size(1), q.device()).view({-1});
    result = result.add(distanceBias.index_select(1, places)
                            .view({1, q.size(1), q.size(2), q.size(2)})
                            .to(result.scalar_type()));
  }
  return result.masked_fill(shape.present.logical_not().view({-1, 1, 1, shape.tokens.size(1)}), -INFINITY);
}

// What backward knows of all pairs of tokens, [n, heads, longest, longest].
struct Pairs {
  Rectangle shape;
  at::Tensor q, k, dout;
  at::Tensor dropped;  // probabilities behind the dropout
  at::Tensor dscores;
};

// `firstToken` is the number in the chunk of the first token given, which the dropout goes by.
Pairs pairsOf(const at::Tensor& dout, const at::Tensor& qkv, const at::Tensor& normalizer,
              const Sequences& sequences, int64_t firstToken, int64_t heads, const at::Tensor& distanceBias,
              const DropoutKey& key) {
  Pairs pairs{rectangle(sequences, qkv.device()), {}, {}, {}, {}, {}};
  const Rectangle& shape = pairs.shape;
  const double scale = 1.0 / std::sqrt(static_cast<double>(qkv.size(1) / 3 / heads));
  auto parts = qkv.chunk(3, 1);
  pairs.q = spread(parts[0], shape, heads);
  pairs.k = spread(parts[1], shape, heads);
  pairs.dout = spread(dout, shape, heads);
  at::Tensor s = scores(pairs.q, pairs.k, scale, shape, distanceBias);
  at::Tensor p = s.sub(spread(normalizer.t(), shape, heads)).exp().to(qkv.scalar_type());
  at::Tensor dp = at::matmul(pairs.dout, spread(parts[2], shape, heads).transpose(2, 3));
  pairs.dropped = p;
  if (key.active()) {
    at::Tensor factor = dropoutFactors(shape, firstToken, heads, key, p.scalar_type());
    pairs.dropped = p.mul(factor);
    dp = dp.mul(factor);
  }
  // Places without a query have a zero gradient, so their rows of p, whatever they hold, must not turn it
  // into NaN.
  at::Tensor empty = shape.present.view({-1, 1, shape.tokens.size(1), 1}).logical_not();
  pairs.dropped = pairs.dropped.masked_fill(empty, 0);
  p = p.masked_fill(empty, 0);
  pairs.dscores = p.mul(dp.sub(dp.mul(p).sum({3}, true)));
  return pairs;
}

void addByDistance(const at::Tensor& gradient, const at::Tensor& dscores, int64_t heads) {
  at::Tensor byPair = dscores.sum({0}, false, gradient.scalar_type()).view({heads, -1});
  at::Tensor places = distances(dscores.size(3), dscores.device()).view({-1});
  // Transposed, because addRows adds in a fixed order where index_add does not.
  at::Tensor byDistance = at::zeros({gradient.size(1), heads}, gradient.options());
  addRows(byDistance, places, byPair.t().contiguous());
  gradient.add_(byDistance.t());
}

}  // namespace

Attention attention(const at::Tensor& qkv, const Sequences& sequences, int64_t heads,
                    const at::Tensor& distanceBias, const DropoutKey& key) {
  const Rectangle shape = rectangle(sequences, qkv.device());
  const double scale = 1.0 / std::sqrt(static_cast<double>(qkv.size(1) / 3 / heads));
  auto parts = qkv.chunk(3, 1);
  at::Tensor q = spread(parts[0], shape, heads), k = spread(parts[1], shape, heads),
             v = spread(parts[2], shape, heads);
  at::Tensor s = scores(q, k, scale, shape, distanceBias);
  at::Tensor normalizer = at::logsumexp(s, {3}, true);
  at::Tensor p = s.sub(normalizer).exp();
  if (key.active()) p = p.mul(dropoutFactors(shape, 0, heads, key, p.scalar_type()));
  return {gather(at::matmul(p, v), shape), gather(normalizer, shape).t().contiguous()};
}

at::Tensor attentionBackward(const at::Tensor& dout, const at::Tensor& qkv, const Attention& saved,
                             const Sequences& sequences, int64_t heads, const at::Tensor& distanceBias,
                             const DropoutKey& key, const at::Tensor& distanceBiasGradient) {
  const Pairs pairs = pairsOf(dout, qkv, saved.normalizer, sequences, 0, heads, distanceBias, key);
  if (distanceBiasGradient.defined()) addByDistance(distanceBiasGradient, pairs.dscores, heads);
  const double scale = 1.0 / std::sqrt(static_cast<double>(qkv.size(1) / 3 / heads));
  at::Tensor dq = at::matmul(pairs.dscores, pairs.k).mul(scale);
  at::Tensor dk = at::matmul(pairs.dscores.transpose(2, 3), pairs.q).mul(scale);
  at::Tensor dv = at::matmul(pairs.dropped.transpose(2, 3), pairs.dout);
  return at::cat({gather(dq, pairs.shape), gather(dk, pairs.shape), gather(dv, pairs.shape)}, 1);
}

void addDistanceBiasGradient(const at::Tensor& gradient, const at::Tensor& dout, const at::Tensor& qkv,
                             const Attention& saved, const Sequences& sequences, int64_t heads,
                             const at::Tensor& distanceBias, const DropoutKey& key) {
  constexpr int64_t kMostPairs = int64_t{1} << 24;  // at once: a few tensors of 32 or 64 MiB
  const int64_t n = static_cast<int64_t>(sequences.offsets.size()) - 1;
  const int64_t group = std::max<int64_t>(1, kMostPairs / (heads * sequences.longest * sequences.longest));
  for (int64_t first = 0; first < n; first += group) {
    const int64_t last = std::min(first + group, n);
    const int64_t begin = sequences.offsets[first], count = sequences.offsets[last] - begin;
    std::vector<int64_t> offsets;
    for (int64_t s = first; s <= last; ++s) offsets.push_back(sequences.offsets[s] - begin);
    const Pairs pairs = pairsOf(
        dout.narrow(0, begin, count), qkv.narrow(0, begin, count), saved.normalizer.narrow(1, begin, count),
        {offsets, sequences.deviceOffsets, sequences.longest}, begin, heads, distanceBias, key);
    addByDistance(gradient, pairs.dscores, heads);
  }
}

}  // namespace gradcache::kernels::composite
