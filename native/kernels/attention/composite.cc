#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "kernels/attention/rectangles.h"
#include "kernels/attention/versions.h"
#include "kernels/dropout/dropout.h"
#include "kernels/rows/versions.h"
#include "kernels/softmax/softmax.h"

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

// The numbers of a block's queries; undefined without dropout.
at::Tensor queriesOf(const Rectangle& shape, const Block& block) {
  return shape.queries.defined() ? shape.queries.narrow(2, block.from, block.count) : at::Tensor();
}

// bool [n, 1, count, 1]: places behind a sequence's end.
at::Tensor withoutQuery(const Rectangle& shape, const Block& block) {
  return shape.present.narrow(1, block.from, block.count).logical_not().view({-1, 1, block.count, 1});
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

// Queries, keys and values of a rectangle, each [n * heads, longest, size], contiguous: products of anything
// else copy it, each of them anew.
struct Parts {
  at::Tensor q, k, v;
};

at::Tensor together(const at::Tensor& heads) { return heads.contiguous().flatten(0, 1); }

Parts partsOf(const at::Tensor& qkv, const Rectangle& shape, const AttentionForm& form) {
  const at::Tensor heads =
      spread(qkv.narrow(0, shape.firstToken, shape.count), shape, form.heads + 2 * form.keyHeads);
  const int64_t served = form.heads / form.keyHeads;
  if (served == 1) {
    const at::Tensor all = heads.unflatten(1, {3, form.heads}).transpose(0, 1).contiguous();
    return {all[0].flatten(0, 1), all[1].flatten(0, 1), all[2].flatten(0, 1)};
  }
  auto each = [&](int64_t first) {
    return together(heads.narrow(1, first, form.keyHeads).repeat_interleave(served, 1));
  };
  return {together(heads.narrow(1, 0, form.heads)), each(form.heads), each(form.heads + form.keyHeads)};
}

// scale * a b of each head.
at::Tensor product(const at::Tensor& a, const at::Tensor& b, double scale = 1) {
  at::Tensor result = at::empty({a.size(0), a.size(1), b.size(2)}, a.options());
  return at::baddbmm_out(result, result, a, b, 0, scale);
}

// [n * heads, ..] as [n, heads, ..].
at::Tensor apart(const at::Tensor& together, const AttentionForm& form) {
  return together.unflatten(0, {-1, form.heads});
}

// Heads of keys or values from the heads of queries that they serve, summed.
at::Tensor summed(const at::Tensor& heads, const AttentionForm& form) {
  if (form.heads == form.keyHeads) return heads;
  return heads.view({heads.size(0), form.keyHeads, -1, heads.size(2), heads.size(3)}).sum({2});
}

// [n, heads, count, longest].
at::Tensor scoresOf(const Parts& parts, const Block& block, const AttentionForm& form) {
  return apart(product(parts.q.narrow(1, block.from, block.count), parts.k.transpose(1, 2), form.scale),
               form);
}

// Whether a softmax over keys is all that becomes of the scores.
bool isPlain(const Rectangle& shape, const AttentionForm& form, const at::Tensor& distanceBias) {
  return form.softCap == 0 && !distanceBias.defined() && form.seesAll(shape.tokens.size(1));
}

PairRows pairRows(const Rectangle& shape, const Block& block) {
  return {shape.keys.defined() ? shape.keys : shape.present, queriesOf(shape, block)};
}

struct Scored {
  at::Tensor p;       // softmax over the keys, [n, heads, count, longest]
  at::Tensor capped;  // tanh(score / softCap); undefined without
};

Scored probabilities(at::Tensor scores, const Rectangle& shape, const Block& block, const AttentionForm& form,
                     const at::Tensor& distanceBias) {
  const int64_t longest = shape.tokens.size(1);
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

// The gradient of a block's outputs [n, heads, count, size], 0 where there is no query.
at::Tensor outputGradient(const at::Tensor& dout, const Rectangle& shape, const Block& block,
                          const AttentionForm& form) {
  const at::Tensor gradient = spread(dout.narrow(0, shape.firstToken, shape.count), shape, form.heads)
                                  .narrow(2, block.from, block.count);
  // With places that are not present, the spread rows are a copy.
  return shape.present.defined() ? gradient.masked_fill_(withoutQuery(shape, block), 0) : gradient;
}

// Values for the pairs of a block in backward, [n, heads, count, longest].
struct Pairs {
  at::Tensor dout;     // [n * heads, count, size], contiguous
  at::Tensor p;        // probabilities behind the dropout
  at::Tensor dscores;  // with a cap: before it
};

Pairs pairsOf(const Parts& parts, const Rectangle& shape, const Block& block, const at::Tensor& dout,
              const AttentionForm& form, const at::Tensor& distanceBias, const DropoutKey& key) {
  Pairs pairs;
  pairs.dout = together(outputGradient(dout, shape, block, form));
  at::Tensor scores = scoresOf(parts, block, form);
  at::Tensor dp = apart(product(pairs.dout, parts.v.transpose(1, 2)), form);
  if (isPlain(shape, form, distanceBias)) {
    SoftmaxGradients gradients =
        droppedSoftmaxBackward(std::move(dp), std::move(scores), pairRows(shape, block), key);
    pairs.p = std::move(gradients.p);
    pairs.dscores = std::move(gradients.scores);
    return pairs;
  }
  Scored scored = probabilities(std::move(scores), shape, block, form, distanceBias);
  // Places without a query have gradient zero, but their rows can be NaN.
  if (shape.present.defined()) scored.p.masked_fill_(withoutQuery(shape, block), 0);
  const auto dropped = [&](const at::Tensor& values) {
    return key.active() ? kernels::dropoutOfRows(values, queriesOf(shape, block), key) : values;
  };
  pairs.dscores = at::_softmax_backward_data(dropped(dp), scored.p, 3, dp.scalar_type());
  if (scored.capped.defined()) pairs.dscores.mul_(scored.capped.square_().neg_().add_(1));
  pairs.p = dropped(scored.p);
  return pairs;
}

// Blocks of queries behind one another.
at::Tensor joined(const std::vector<at::Tensor>& blocks) {
  return blocks.size() == 1 ? blocks.front() : at::cat(blocks, 1);
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
  const auto rectangles = rectanglesOf(sequences, form.heads, key.active());
  for (const Rectangle& shape : rectangles->list) {
    const Parts parts = partsOf(qkv, shape, form);
    std::vector<at::Tensor> blocks;
    inBlocks(shape, form, [&](const Block& block) {
      at::Tensor scores = scoresOf(parts, block, form), p;
      if (isPlain(shape, form, distanceBias)) {
        p = droppedSoftmax(std::move(scores), pairRows(shape, block), key);
      } else {
        p = probabilities(std::move(scores), shape, block, form, distanceBias).p;
        if (key.active()) p = kernels::dropoutOfRows(p, queriesOf(shape, block), key);
      }
      blocks.push_back(product(p.flatten(0, 1), parts.v));
    });
    gatherInto(out.narrow(0, shape.firstToken, shape.count), {apart(joined(blocks), form)}, shape);
  }
  return {out, {}};
}

at::Tensor attentionBackward(const at::Tensor& dout, const at::Tensor& qkv, const Sequences& sequences,
                             const AttentionForm& form, const at::Tensor& distanceBias, const DropoutKey& key,
                             const at::Tensor& distanceBiasGradient) {
  at::Tensor dqkv = at::empty(qkv.sizes(), qkv.options());
  const auto rectangles = rectanglesOf(sequences, form.heads, key.active());
  for (const Rectangle& shape : rectangles->list) {
    const Parts parts = partsOf(qkv, shape, form);
    std::vector<at::Tensor> dq;
    at::Tensor dk, dv;
    auto add = [](at::Tensor& sum, at::Tensor part) { sum.defined() ? sum.add_(part) : sum = part; };
    inBlocks(shape, form, [&](const Block& block) {
      Pairs pairs = pairsOf(parts, shape, block, dout, form, distanceBias, key);
      if (distanceBiasGradient.defined()) addByDistance(distanceBiasGradient, pairs.dscores, block);
      const at::Tensor dscores = pairs.dscores.flatten(0, 1), q = parts.q.narrow(1, block.from, block.count);
      dq.push_back(product(dscores, parts.k, form.scale));
      add(dk, product(dscores.transpose(1, 2), q, form.scale));
      pairs.dscores.reset();
      add(dv, product(pairs.p.flatten(0, 1).transpose(1, 2), pairs.dout));
    });
    gatherInto(dqkv.narrow(0, shape.firstToken, shape.count),
               {apart(joined(dq), form), summed(apart(dk, form), form), summed(apart(dv, form), form)},
               shape);
  }
  return dqkv;
}

void addDistanceBiasGradient(const at::Tensor& gradient, const at::Tensor& dout, const at::Tensor& qkv,
                             const Sequences& sequences, const AttentionForm& form,
                             const at::Tensor& distanceBias, const DropoutKey& key) {
  const auto rectangles = rectanglesOf(sequences, form.heads, key.active());
  for (const Rectangle& shape : rectangles->list) {
    const Parts parts = partsOf(qkv, shape, form);
    inBlocks(shape, form, [&](const Block& block) {
      addByDistance(gradient, pairsOf(parts, shape, block, dout, form, distanceBias, key).dscores, block);
    });
  }
}

}  // namespace gradcache::kernels::composite
