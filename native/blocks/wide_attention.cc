#include "blocks/wide_attention.h"

#include <cmath>

#include "core/error.h"
#include "kernels/dropout/dropout.h"
#include "model/sequence_rows.h"

namespace gradcache {

namespace {

// The score of what must not count: its exponential is 0 beside any other's. A row of such scores alone, as
// padding has, still has a softmax without NaN.
constexpr double kHidden = -1e30;

// Rows [n, length, H] as [n * heads, length, H / heads], and back.
at::Tensor byHead(const at::Tensor& rows, int64_t heads) {
  if (heads == 1) return rows;
  const int64_t n = rows.size(0), length = rows.size(1), head = rows.size(2) / heads;
  return rows.reshape({n, length, heads, head}).transpose(1, 2).reshape({n * heads, length, head});
}
at::Tensor together(const at::Tensor& rows, int64_t heads) {
  if (heads == 1) return rows;
  const int64_t n = rows.size(0) / heads, length = rows.size(1), head = rows.size(2);
  return rows.view({n, heads, length, head}).transpose(1, 2).reshape({n, length, heads * head});
}

// bool [1 or n, longest, rows + longest]: which keys a query does not see. Undefined: it sees all.
at::Tensor hiddenKeys(int64_t rows, bool causal, const Pass& pass) {
  const Carried* carried = pass.carried.get();
  const int64_t longest = pass.tokens.longest, window = causal && carried ? carried->window : 0;
  const auto options = firstTokens(pass).options();
  // Positions count from the first token of the sequence; what is remembered lies before it.
  const at::Tensor query = at::arange(longest, options).unsqueeze(1);
  const at::Tensor key = at::arange(-rows, longest, options).unsqueeze(0);
  at::Tensor hidden;
  const auto hide = [&](const at::Tensor& more) {
    hidden = hidden.defined() ? hidden.logical_or(more) : more;
  };
  if (causal) hide(key.gt(query).unsqueeze(0));
  if (window > 0) hide(key.lt(query.sub(window)).unsqueeze(0));
  if (!sameLengths(pass)) hide(key.ge(pass.tokens.deviceOffsets.diff().view({-1, 1, 1})));
  if (rows > 0 && !carried->remembered.empty()) {
    const at::Tensor own = at::tensor(at::ArrayRef<int64_t>(carried->remembered), at::kLong);
    require(own.size(0) == pass.tokens.sequences(), "SHAPE", own.size(0), " numbers of remembered rows for ",
            pass.tokens.sequences(), " sequences");
    hide(key.lt(own.to(key.device()).neg().view({-1, 1, 1})));
  }
  return hidden;
}

// The layers of a pass all remember as much, so those of a kind share a mask.
const at::Tensor& hiddenKeysOnce(int64_t rows, bool causal, const Pass& pass) {
  static const char kinds[4] = {};
  return pass.once(&kinds[(rows > 0 ? 2 : 0) + (causal ? 1 : 0)],
                   [&] { return hiddenKeys(rows, causal, pass); });
}

struct Scored {
  at::Tensor q, k, v;  // [n * heads, length, H / heads]; queries are scaled
  at::Tensor weights;  // [n * heads, longest, keys]: the softmax
  double scale;
};

Scored scored(const WideAttention& attention, const Pass& pass) {
  const int64_t width = attention.q.size(1), heads = attention.heads;
  const double scale = 1 / std::sqrt(static_cast<double>(width / heads));
  at::Tensor kv = padded(attention.kv, pass);
  int64_t rows = 0;
  if (attention.remembered.defined()) {
    rows = attention.remembered.size(1);
    kv = at::cat({attention.remembered, kv}, 1);
  }
  Scored result{byHead(padded(attention.q, pass).mul(scale), heads),
                byHead(kv.narrow(2, 0, width), heads),
                byHead(kv.narrow(2, width, width), heads),
                {},
                scale};
  at::Tensor scores = at::bmm(result.q, result.k.transpose(1, 2));
  if (const at::Tensor& hidden = hiddenKeysOnce(rows, attention.causal, pass); hidden.defined())
    scores.view({-1, heads, scores.size(1), scores.size(2)}).masked_fill_(hidden.unsqueeze(1), kHidden);
  at::_softmax_out(scores, scores, -1, /*half_to_float=*/false);
  result.weights = std::move(scores);
  return result;
}

// Weights [n * heads, longest, keys] under dropout, by row and key.
at::Tensor dropped(const at::Tensor& weights, const DropoutKey& key) {
  return kernels::dropout(weights.view({-1, weights.size(2)}), key).view_as(weights);
}

}  // namespace

at::Tensor wideAttention(const WideAttention& attention, const Pass& pass) {
  const Scored s = scored(attention, pass);
  return packed(together(at::bmm(dropped(s.weights, attention.key), s.v), attention.heads), pass);
}

WideAttentionGradients wideAttentionBackward(const at::Tensor& dout, const WideAttention& attention,
                                             const Pass& pass) {
  Scored s = scored(attention, pass);
  const int64_t heads = attention.heads;
  const at::Tensor dy = byHead(padded(dout, pass), heads);
  const at::Tensor dv = at::bmm(dropped(s.weights, attention.key).transpose(1, 2), dy);
  at::Tensor dweights = dropped(at::bmm(dy, s.v.transpose(1, 2)), attention.key);
  at::_softmax_backward_data_out(dweights, dweights, s.weights, -1, s.weights.scalar_type());
  s.weights.reset();
  const at::Tensor dq = at::bmm(dweights, s.k).mul_(s.scale), dk = at::bmm(dweights.transpose(1, 2), s.q);
  dweights.reset();

  WideAttentionGradients gradients{packed(together(dq, heads), pass), {}, {}};
  at::Tensor dkv = at::cat({together(dk, heads), together(dv, heads)}, 2);
  if (attention.remembered.defined()) {
    const int64_t rows = attention.remembered.size(1);
    gradients.remembered = dkv.narrow(1, 0, rows);
    dkv = dkv.narrow(1, rows, dkv.size(1) - rows);
  }
  gradients.kv = packed(dkv, pass);
  return gradients;
}

}  // namespace gradcache
