#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "kernels/attention/rectangles.h"
#include "kernels/attention/versions.h"
#include "kernels/dropout/dropout.h"
#include "kernels/rows/versions.h"

namespace gradcache::kernels::composite {

namespace {

// Queries [from, from + count) of every sequence of a rectangle.
struct Block {
  int64_t from, count;
};

template <class Visit>
void inBlocks(const Rectangle& shape, const AttentionForm& form, Visit visit) {
  const int64_t n = shape.tokens.size(0), longest = shape.tokens.size(1);
  const int64_t most = std::max<int64_t>(kMostPairs / (n * form.heads * longest), 1);
  for (int64_t from = 0; from < longest; from += most) visit(Block{from, std::min(most, longest - from)});
}

// [count, longest] of key - query, as int64.
at::Tensor distances(const Block& block, int64_t longest, const at::Tensor& like) {
  const auto options = like.options().dtype(at::kLong);
  return at::arange(longest, options)
      .unsqueeze(0)
      .sub(at::arange(block.from, block.from + block.count, options).unsqueeze(1));
}

// The same as columns of a distance bias or its gradient: distance 0 is the middle.
at::Tensor biasColumns(const Block& block, int64_t longest, const at::Tensor& distanceBias) {
  return distances(block, longest, distanceBias).add(distanceBias.size(1) / 2).view({-1});
}

// Queries with the scale of the scores, keys and values of a rectangle, each [n, heads, longest, size].
struct Parts {
  at::Tensor q, k, v;
};

Parts partsOf(const at::Tensor& qkv, const Rectangle& shape, const AttentionForm& form) {
  const at::Tensor rows = qkv.narrow(0, shape.firstToken, shape.count);
  const int64_t queries = form.heads * form.size, keys = form.keyHeads * form.size,
                served = form.heads / form.keyHeads;
  auto each = [&](int64_t first) {
    const at::Tensor heads = spread(rows.narrow(1, first, keys), shape, form.keyHeads);
    return served == 1 ? heads : heads.repeat_interleave(served, 1);
  };
  return {spread(rows.narrow(1, 0, queries), shape, form.heads).mul(form.scale), each(queries),
          each(queries + keys)};
}

// Heads of keys or values from the heads of queries that they serve, summed.
at::Tensor summed(const at::Tensor& heads, const AttentionForm& form) {
  if (form.heads == form.keyHeads) return heads;
  return heads.view({heads.size(0), form.keyHeads, -1, heads.size(2), heads.size(3)}).sum({2});
}

struct Scored {
  at::Tensor p;       // softmax over the keys, [n, heads, count, longest]
  at::Tensor capped;  // tanh(score / softCap); undefined without
};

Scored probabilities(const Parts& parts, const Rectangle& shape, const Block& block,
                     const AttentionForm& form, const at::Tensor& distanceBias) {
  const int64_t longest = shape.tokens.size(1);
  at::Tensor scores = at::matmul(parts.q.narrow(2, block.from, block.count), parts.k.transpose(2, 3));
  Scored result;
  if (form.softCap != 0) {
    result.capped = scores.div_(form.softCap).tanh_();
    scores = result.capped.mul(form.softCap);
  }
  if (distanceBias.defined()) {
    scores.add_(distanceBias.index_select(1, biasColumns(block, longest, distanceBias))
                    .view({1, form.heads, block.count, longest})
                    .to(scores.scalar_type()));
  }
  if (!form.seesAll(longest)) {
    const at::Tensor ahead = distances(block, longest, scores);
    at::Tensor hidden = ahead.abs().gt(form.window);
    if (form.causal) hidden.logical_or_(ahead.gt(0));
    scores.masked_fill_(hidden, -INFINITY);
  }
  const at::Tensor& keys = shape.keys.defined() ? shape.keys : shape.present;
  if (keys.defined()) scores.masked_fill_(keys.logical_not().view({-1, 1, 1, longest}), -INFINITY);
  result.p = at::softmax(scores, 3);
  // A query can be too far from every key, and has NaN then.
  if (shape.keys.defined() && !form.seesAll(longest)) result.p.masked_fill_(scores.eq(-INFINITY), 0);
  return result;
}

// Values for the pairs of a block in backward, [n, heads, count, longest].
struct Pairs {
  at::Tensor dout;     // [n, heads, count, size]
  at::Tensor p;        // probabilities before the dropout
  at::Tensor dscores;  // with a cap: before it
};

Pairs pairsOf(const Parts& parts, const Rectangle& shape, const Block& block, const at::Tensor& dout,
              const AttentionForm& form, const at::Tensor& distanceBias, const DropoutKey& key) {
  Pairs pairs;
  pairs.dout = spread(dout.narrow(0, shape.firstToken, shape.count), shape, form.heads)
                   .narrow(2, block.from, block.count);
  Scored scored = probabilities(parts, shape, block, form, distanceBias);
  pairs.p = std::move(scored.p);
  if (shape.present.defined()) {
    // Places without a query have gradient zero, but their rows of p can be NaN.
    const at::Tensor empty =
        shape.present.narrow(1, block.from, block.count).logical_not().view({-1, 1, block.count, 1});
    pairs.dout = pairs.dout.masked_fill(empty, 0);
    if (distanceBias.defined() || !form.seesAll(shape.tokens.size(1))) pairs.p.masked_fill_(empty, 0);
  }
  at::Tensor dp = at::matmul(pairs.dout, parts.v.transpose(2, 3));
  if (key.active())
    dp = kernels::dropoutOfRows(dp, queryNumbers(shape, block.from, block.count, form.heads), key);
  pairs.dscores = at::_softmax_backward_data(dp, pairs.p, 3, dp.scalar_type());
  if (scored.capped.defined()) pairs.dscores.mul_(scored.capped.square_().neg_().add_(1));
  return pairs;
}

void addByDistance(const at::Tensor& gradient, const at::Tensor& dscores, const Block& block) {
  const int64_t heads = dscores.size(1);
  at::Tensor byPair = dscores.sum({0}, false, gradient.scalar_type()).view({heads, -1});
  // Transposed, because addRows adds in a fixed order where index_add does not.
  at::Tensor byDistance = at::zeros({gradient.size(1), heads}, gradient.options());
  addRows(byDistance, biasColumns(block, dscores.size(3), gradient), byPair.t().contiguous());
  gradient.add_(byDistance.t());
}

}  // namespace

Attention attention(const at::Tensor& qkv, const Sequences& sequences, const AttentionForm& form,
                    const at::Tensor& distanceBias, const DropoutKey& key) {
  at::Tensor out = at::empty({qkv.size(0), form.heads * form.size}, qkv.options());
  inRectangles(sequences, form.heads, [&](const Rectangle& shape) {
    const Parts parts = partsOf(qkv, shape, form);
    std::vector<at::Tensor> blocks;
    inBlocks(shape, form, [&](const Block& block) {
      at::Tensor p = probabilities(parts, shape, block, form, distanceBias).p;
      if (key.active())
        p = kernels::dropoutOfRows(p, queryNumbers(shape, block.from, block.count, form.heads), key);
      blocks.push_back(at::matmul(p, parts.v));
    });
    const at::Tensor all = blocks.size() == 1 ? blocks.front() : at::cat(blocks, 2);
    out.narrow(0, shape.firstToken, shape.count).copy_(gather(all, shape));
  });
  return {out, {}};
}

at::Tensor attentionBackward(const at::Tensor& dout, const at::Tensor& qkv, const Sequences& sequences,
                             const AttentionForm& form, const at::Tensor& distanceBias, const DropoutKey& key,
                             const at::Tensor& distanceBiasGradient) {
  at::Tensor dqkv = at::empty(qkv.sizes(), qkv.options());
  inRectangles(sequences, form.heads, [&](const Rectangle& shape) {
    const Parts parts = partsOf(qkv, shape, form);
    std::vector<at::Tensor> dq;
    at::Tensor dk, dv;
    auto add = [](at::Tensor& sum, at::Tensor part) { sum.defined() ? sum.add_(part) : sum = part; };
    inBlocks(shape, form, [&](const Block& block) {
      Pairs pairs = pairsOf(parts, shape, block, dout, form, distanceBias, key);
      if (distanceBiasGradient.defined()) addByDistance(distanceBiasGradient, pairs.dscores, block);
      dq.push_back(at::matmul(pairs.dscores, parts.k).mul_(form.scale));
      const at::Tensor q = parts.q.narrow(2, block.from, block.count);
      add(dk, at::matmul(pairs.dscores.transpose(2, 3), q));
      pairs.dscores.reset();
      const at::Tensor p =
          key.active()
              ? kernels::dropoutOfRows(pairs.p, queryNumbers(shape, block.from, block.count, form.heads), key)
              : pairs.p;
      add(dv, at::matmul(p.transpose(2, 3), pairs.dout));
    });
    const at::Tensor rows = dqkv.narrow(0, shape.firstToken, shape.count);
    int64_t column = 0;
    for (const at::Tensor& part : {at::cat(dq, 2), summed(dk, form), summed(dv, form)}) {
      const int64_t width = part.size(1) * form.size;
      rows.narrow(1, column, width).copy_(gather(part, shape));
      column += width;
    }
  });
  return dqkv;
}

void addDistanceBiasGradient(const at::Tensor& gradient, const at::Tensor& dout, const at::Tensor& qkv,
                             const Sequences& sequences, const AttentionForm& form,
                             const at::Tensor& distanceBias, const DropoutKey& key) {
  inRectangles(sequences, form.heads, [&](const Rectangle& shape) {
    const Parts parts = partsOf(qkv, shape, form);
    inBlocks(shape, form, [&](const Block& block) {
      addByDistance(gradient, pairsOf(parts, shape, block, dout, form, distanceBias, key).dscores, block);
    });
  });
}

}  // namespace gradcache::kernels::composite
