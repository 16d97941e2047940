#include "kernels/disentangled/disentangled.h"

#include <cmath>
#include <utility>

#include "kernels/attention/rectangles.h"
#include "kernels/dropout/dropout.h"
#include "kernels/rows/rows.h"

namespace gradcache::kernels {

namespace {

using composite::gatherInto;
using composite::Rectangle;
using composite::rectanglesOf;
using composite::spread;

// What a rectangle of sequences as long as `longest` needs of the vectors: one for each distance.
struct Distances {
  at::Tensor rows;     // int64 [2 * longest - 1]: the table's rows, of ascending distances
  at::Tensor vectors;  // [heads, 2 * longest - 1, size]
};

// Of query - key or, `reversed`, of key - query.
Distances distancesOf(const at::Tensor& table, const at::Tensor& rowOfDistance, int64_t longest,
                      bool reversed, const AttentionForm& form) {
  const int64_t count = 2 * longest - 1;
  at::Tensor rows = rowOfDistance.narrow(0, (rowOfDistance.size(0) - count) / 2, count);
  if (reversed) rows = rows.flip(0);
  at::Tensor vectors = table.index_select(0, rows).view({count, form.heads, form.size}).transpose(0, 1);
  return {std::move(rows), std::move(vectors)};
}

// Scores by distance [n, heads, L, 2 L - 1] as scores by the other token [n, heads, L, L], a view: the token
// at place i meets the one at place j at distance j - i.
at::Tensor byToken(const at::Tensor& byDistance) {
  const int64_t longest = byDistance.size(2), count = byDistance.size(3);
  return byDistance.as_strided({byDistance.size(0), byDistance.size(1), longest, longest},
                               {byDistance.stride(0), byDistance.stride(1), byDistance.stride(2) - 1, 1},
                               byDistance.storage_offset() + count / 2);
}

// The same backwards: gradients by the other token at their distances, and 0 at the rest.
at::Tensor byDistance(const at::Tensor& byTokens) {
  const int64_t longest = byTokens.size(2);
  at::Tensor all =
      at::zeros({byTokens.size(0), byTokens.size(1), longest, 2 * longest - 1}, byTokens.options());
  byToken(all).copy_(byTokens);
  return all;
}

// A rectangle's part of all that is given, [n, heads, longest, size].
struct Parts {
  at::Tensor q, k, v;
  Distances keys, queries;  // undefined where the vectors are
  at::Tensor p;             // softmax over the keys, [n, heads, longest, longest]
};

Parts partsOf(const at::Tensor& qkv, const DistanceVectors& vectors, const Rectangle& shape,
              const AttentionForm& form) {
  const at::Tensor rows = qkv.narrow(0, shape.firstToken, shape.count);
  const int64_t width = form.heads * form.size, longest = shape.tokens.size(1);
  const auto part = [&](int64_t number) {
    return spread(rows.narrow(1, number * width, width), shape, form.heads);
  };
  Parts parts{part(0), part(1), part(2), {}, {}, {}};
  at::Tensor scores = at::matmul(parts.q, parts.k.transpose(2, 3));
  if (vectors.keys.defined()) {
    // By key - query: as the place of the key ascends.
    parts.keys = distancesOf(vectors.keys, vectors.rowOfDistance, longest, /*reversed=*/true, form);
    scores.add_(byToken(at::matmul(parts.q, parts.keys.vectors.transpose(1, 2))));
  }
  if (vectors.queries.defined()) {
    parts.queries = distancesOf(vectors.queries, vectors.rowOfDistance, longest, /*reversed=*/false, form);
    scores.add_(byToken(at::matmul(parts.k, parts.queries.vectors.transpose(1, 2))).transpose(2, 3));
  }
  scores.mul_(form.scale);
  if (shape.present.defined())
    scores.masked_fill_(shape.present.logical_not().view({-1, 1, 1, longest}), -INFINITY);
  parts.p = at::softmax(scores, 3);
  return parts;
}

at::Tensor dropped(const at::Tensor& pairs, const Rectangle& shape, const AttentionForm& form,
                   const DropoutKey& key) {
  if (!key.active()) return pairs;
  return dropoutOfRows(pairs, shape.queries, key);
}

// Adds to the gradient of a table what a rectangle's scores by distance [n, heads, L, 2 L - 1] give, which
// `content` [n, heads, L, size] met.
void addVectorGradient(const at::Tensor& gradient, const at::Tensor& dscores, const at::Tensor& content,
                       const Distances& distances) {
  const at::Tensor sum = at::matmul(dscores.transpose(2, 3), content).sum({0});  // [heads, 2 L - 1, size]
  addRows(gradient, distances.rows, sum.transpose(0, 1).reshape({sum.size(1), -1}));
}

}  // namespace

at::Tensor disentangledAttention(const at::Tensor& qkv, const DistanceVectors& vectors,
                                 const Sequences& sequences, const AttentionForm& form,
                                 const DropoutKey& key) {
  at::Tensor out = at::empty({qkv.size(0), form.heads * form.size}, qkv.options());
  const auto rectangles = rectanglesOf(sequences, form.heads, key.active());
  for (const Rectangle& shape : rectangles->list) {
    const Parts parts = partsOf(qkv, vectors, shape, form);
    const at::Tensor y = at::matmul(dropped(parts.p, shape, form, key), parts.v);
    gatherInto(out.narrow(0, shape.firstToken, shape.count), {y}, shape);
  }
  return out;
}

DisentangledGradients disentangledAttentionBackward(const at::Tensor& dout, const at::Tensor& qkv,
                                                    const DistanceVectors& vectors,
                                                    const Sequences& sequences, const AttentionForm& form,
                                                    const DropoutKey& key) {
  const auto zeros = [](const at::Tensor& table) {
    return table.defined() ? at::zeros_like(table) : at::Tensor();
  };
  DisentangledGradients gradients{at::empty(qkv.sizes(), qkv.options()), zeros(vectors.keys),
                                  zeros(vectors.queries)};
  const auto rectangles = rectanglesOf(sequences, form.heads, key.active());
  for (const Rectangle& shape : rectangles->list) {
    Parts parts = partsOf(qkv, vectors, shape, form);
    at::Tensor dy = spread(dout.narrow(0, shape.firstToken, shape.count), shape, form.heads);
    // Places without a query have no gradient.
    if (shape.present.defined())
      dy = dy.masked_fill(shape.present.logical_not().view({-1, 1, shape.tokens.size(1), 1}), 0);
    const at::Tensor dv = at::matmul(dropped(parts.p, shape, form, key).transpose(2, 3), dy);
    const at::Tensor dp = dropped(at::matmul(dy, parts.v.transpose(2, 3)), shape, form, key);
    const at::Tensor dscores =
        at::_softmax_backward_data(dp, std::exchange(parts.p, {}), 3, dp.scalar_type()).mul_(form.scale);
    at::Tensor dq = at::matmul(dscores, parts.k), dk = at::matmul(dscores.transpose(2, 3), parts.q);
    if (vectors.keys.defined()) {
      const at::Tensor skewed = byDistance(dscores);
      dq.add_(at::matmul(skewed, parts.keys.vectors));
      addVectorGradient(gradients.keys, skewed, parts.q, parts.keys);
    }
    if (vectors.queries.defined()) {
      const at::Tensor skewed = byDistance(dscores.transpose(2, 3));
      dk.add_(at::matmul(skewed, parts.queries.vectors));
      addVectorGradient(gradients.queries, skewed, parts.k, parts.queries);
    }
    gatherInto(gradients.qkv.narrow(0, shape.firstToken, shape.count), {dq, dk, dv}, shape);
  }
  return gradients;
}

}  // namespace gradcache::kernels
