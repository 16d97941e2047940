#include <cmath>

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

at::Tensor dropoutFactors(const Rectangle& shape, int64_t heads, const DropoutKey& key, at::ScalarType type) {
  const auto options = shape.tokens.options();
  at::Tensor rows = shape.tokens.view({-1, 1, shape.tokens.size(1), 1})
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
  if (key.active()) p = p.mul(dropoutFactors(shape, heads, key, p.scalar_type()));
  return {gather(at::matmul(p, v), shape), gather(normalizer, shape).t().contiguous()};
}

at::Tensor attentionBackward(const at::Tensor& dout, const at::Tensor& qkv, const Attention& saved,
                             const Sequences& sequences, int64_t heads, const at::Tensor& distanceBias,
                             const DropoutKey& key, const at::Tensor& distanceBiasGradient) {
  const Rectangle shape = rectangle(sequences, qkv.device());
  const double scale = 1.0 / std::sqrt(static_cast<double>(qkv.size(1) / 3 / heads));
  auto parts = qkv.chunk(3, 1);
  at::Tensor q = spread(parts[0], shape, heads), k = spread(parts[1], shape, heads),
             v = spread(parts[2], shape, heads);
  at::Tensor dy = spread(dout, shape, heads);
  at::Tensor s = scores(q, k, scale, shape, distanceBias);
  at::Tensor p = s.sub(spread(saved.normalizer.t(), shape, heads)).exp();
  at::Tensor dropped = p, dp = at::matmul(dy, v.transpose(2, 3));
  if (key.active()) {
    at::Tensor factor = dropoutFactors(shape, heads, key, p.scalar_type());
    dropped = p.mul(factor);
    dp = dp.mul(factor);
  }
  // Places without a query have a zero gradient, so their rows of p, whatever they hold, must not turn it
  // into NaN.
  at::Tensor query = shape.present.view({-1, 1, shape.tokens.size(1), 1});
  dropped = dropped.masked_fill(query.logical_not(), 0);
  p = p.masked_fill(query.logical_not(), 0);
  at::Tensor ds = p.mul(dp.sub(dp.mul(p).sum({3}, true)));
  if (distanceBiasGradient.defined()) {
    at::Tensor byPair = ds.sum({0}, false, distanceBiasGradient.scalar_type()).view({heads, -1});
    at::Tensor places = distances(shape.tokens.size(1), qkv.device()).view({-1});
    // Transposed, because addRows adds in a fixed order where index_add does not.
    at::Tensor byDistance = at::zeros({distanceBiasGradient.size(1), heads}, distanceBiasGradient.options());
    addRows(byDistance, places, byPair.t().contiguous());
    distanceBiasGradient.add_(byDistance.t());
  }
  at::Tensor dq = at::matmul(ds, k).mul(scale), dk = at::matmul(ds.transpose(2, 3), q).mul(scale);
  at::Tensor dv = at::matmul(dropped.transpose(2, 3), dy);
  return at::cat({gather(dq, shape), gather(dk, shape), gather(dv, shape)}, 1);
}

}  // namespace gradcache::kernels::composite
