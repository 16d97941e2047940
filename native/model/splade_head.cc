#include "model/splade_head.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/recorded.h"
#include "kernels/pool/pool.h"
#include "kernels/rows/rows.h"
#include "model/products.h"
#include "model/sequence_rows.h"

namespace gradcache {

namespace {

// Logits of a tile. On a CPU few enough for its caches, on a GPU enough to keep it busy.
constexpr int64_t kTileCpu = int64_t{1} << 20, kTileCuda = int64_t{1} << 25;
// A kernel pools no wider rows.
constexpr int64_t kWidestTile = 4096;
// Vectors that are gathered at once.
constexpr int64_t kGathered = 16384;
// A gathered vector costs about as much as the products of so many logits.
constexpr int64_t kGatherCost = 64;

bool sums(const std::string& pooling) {
  require(pooling == "max" || pooling == "sum", "INPUT", "pooling '", pooling,
          "' of SPLADE is unknown; use max or sum");
  return pooling == "sum";
}

// The table of the embeddings, or one that only logits are made with.
ParameterId wordsOf(const Settings& settings, int64_t vocabulary, int64_t width, ParameterList& list) {
  const std::string name = settings.text("words") + ".weight";
  return settings.truth("ownWords") ? list.add({{name, {vocabulary, width}}}) : list.named(name);
}

}  // namespace

SpladeHead::SpladeHead(const Settings& settings, int64_t vocabulary, ParameterList& list)
    : width_(settings.size("width")),
      vocabulary_(vocabulary),
      sum_(sums(settings.text("pooling"))),
      twice_(settings.size("logarithms", 1, 2) == 2),
      words_(wordsOf(settings, vocabulary, width_, list)),
      bias_(settings.has("bias") ? std::optional(list.add({{settings.text("bias"), {vocabulary}, false}}))
                                 : std::nullopt),
      trained_(list.anyTrainable()),
      active_(vocabulary) {
  // Columns are numbers of float32.
  require(vocabulary <= int64_t{1} << 24, "CHECKPOINT", "SPLADE with a vocabulary of ", vocabulary,
          " is not supported; at most 2^24 words are");
}

int64_t SpladeHead::tapeBytes(const ChunkSize& chunk) const {
  // The rows that the logits are products of, and what entries need: with room for rows that have more of
  // them than those of chunks before.
  const int64_t active = active_.load();
  const int64_t columns = std::min(vocabulary_, active + active / 2 + 16);
  return chunk.tokens * width_ * chunk.element + chunk.sequences * columns * (3 * chunk.wide + 24);
}

void SpladeHead::note(int64_t entries, int64_t sequences) const {
  const int64_t before = active_.load();
  const int64_t now = (entries + sequences - 1) / sequences;
  // The first chunk takes the place of the vocabulary; later ones let a great number fade.
  active_.store(before == vocabulary_ ? now : std::max(now, before - before / 16));
}

void SpladeHead::overTiles(const at::Tensor& x,
                           const std::function<void(int64_t begin, int64_t count)>& work) const {
  const int64_t most = (x.is_cuda() ? kTileCuda : kTileCpu) / x.size(0);
  const int64_t tile = std::clamp<int64_t>(most / 64 * 64, 64, kWidestTile);
  for (int64_t begin = 0; begin < vocabulary_; begin += tile)
    work(begin, std::min(tile, vocabulary_ - begin));
}

at::Tensor SpladeHead::logits(const at::Tensor& x, int64_t begin, int64_t count, const Pass& pass) const {
  at::Tensor logits = wideProduct(x, pass.weight(words_).narrow(0, begin, count));
  return bias_ ? logits.add_(pass.weight(*bias_).narrow(0, begin, count)) : logits;
}

at::Tensor SpladeHead::saturated(at::Tensor logits) const {
  logits.relu_().log1p_();
  return twice_ ? logits.log1p_() : logits;
}

at::Tensor SpladeHead::slope(const at::Tensor& value) const {
  return twice_ ? value.add(value.expm1()).neg_().exp_() : value.neg().exp_();
}

SpladeHead::Pooled SpladeHead::pool(const at::Tensor& x, const Pass& pass) const {
  const kernels::Sequences sequences = pass.sequences();
  const auto options = x.options().dtype(pass.wideType());
  Pooled result;
  result.y = at::empty({pass.tokens.sequences(), vocabulary_}, options);
  if (!sum_) result.argmax = at::empty(result.y.sizes(), options.dtype(at::kInt));
  overTiles(x, [&](int64_t begin, int64_t count) {
    at::Tensor y = result.y.narrow(1, begin, count);
    if (sum_) {
      const at::Tensor mean =
          kernels::pool(saturated(logits(x, begin, count, pass)), sequences, kernels::Pooling::kMean, false)
              .y;
      y.copy_(mean.mul_(pass.tokens.deviceOffsets.diff().unsqueeze(1)));
    } else {
      // The largest logit is the largest of the saturated ones too.
      kernels::Pooled largest =
          kernels::pool(logits(x, begin, count, pass), sequences, kernels::Pooling::kMax, false);
      y.copy_(saturated(std::move(largest.y)));
      result.argmax.narrow(1, begin, count).copy_(largest.argmax);
    }
  });
  return result;
}

at::Tensor SpladeHead::dense(const at::Tensor& x, const std::shared_ptr<const Pass>& pass) const {
  return pool(x, *pass).y;
}

SpladeHead::Entries SpladeHead::entries(const Pooled& pooled) const {
  at::Tensor active = pooled.y.ne(0);  // and NaN, which must not get lost
  active.select(1, 0).logical_or_(active.any(1).logical_not());
  const at::Tensor places = active.nonzero();
  Entries result{places.select(1, 0).contiguous(), places.select(1, 1).contiguous(), {}, {}};
  const at::Tensor place = result.rows.mul(vocabulary_).add_(result.columns);
  result.values = pooled.y.view({-1}).index_select(0, place);
  if (!sum_) result.tokens = pooled.argmax.view({-1}).index_select(0, place).to(at::kLong);
  return result;
}

Encoded SpladeHead::forward(const at::Tensor& x, const std::shared_ptr<const Pass>& pass, bool graph) const {
  const at::Tensor rows = x.detach();
  const at::AutoGradMode recording(false);
  Entries found = entries(pool(rows, *pass));
  note(found.rows.size(0), pass->tokens.sequences());
  const at::Tensor counts =
      at::bincount(found.rows, {}, pass->tokens.sequences()).to(at::kCPU, at::kInt).contiguous();
  const auto* data = counts.const_data_ptr<int32_t>();
  Encoded result{at::stack({found.values, found.columns.to(found.values.scalar_type())}, 1),
                 std::vector<int32_t>(data, data + counts.numel())};
  if (!graph || !trained_) return result;
  result.rows =
      record(result.rows, x,
             [self = shared_from_this(), pass, rows, found = std::move(found)](const at::Tensor& gradient) {
               pass->requireSameWeights();
               return self->backward(gradient.select(1, 0), rows, found, *pass);
             });
  return result;
}

at::Tensor SpladeHead::backward(const at::Tensor& gradient, const at::Tensor& x, const Entries& entries,
                                const Pass& pass) const {
  at::Tensor dx = at::zeros(x.sizes(), x.options().dtype(pass.wideType()));
  if (!sum_ && entries.values.size(0) * kGatherCost < x.size(0) * vocabulary_) {
    backwardEntries(gradient, x, entries, pass, dx);
  } else {
    backwardTiles(gradient, x, entries, pass, dx);
  }
  return dx.to(x.scalar_type());
}

void SpladeHead::backwardEntries(const at::Tensor& gradient, const at::Tensor& x, const Entries& entries,
                                 const Pass& pass, at::Tensor& dx) const {
  const at::Tensor words = pass.weight(words_);
  const at::Tensor &ofWords = pass.gradient(words_), ofBias = biasGradient(pass);
  // The entry of a row without any is below the cut-off, or on it.
  const at::Tensor dlogits = gradient.mul(slope(entries.values)).masked_fill_(entries.values.eq(0), 0);
  for (int64_t begin = 0; begin < dlogits.size(0); begin += kGathered) {
    const int64_t count = std::min(kGathered, dlogits.size(0) - begin);
    const at::Tensor columns = entries.columns.narrow(0, begin, count);
    const at::Tensor tokens = entries.tokens.narrow(0, begin, count);
    const at::Tensor each = dlogits.narrow(0, begin, count).unsqueeze(1);
    kernels::addRows(dx, tokens, words.index_select(0, columns).mul(each));
    if (ofWords.defined()) kernels::addRows(ofWords, columns, x.index_select(0, tokens).mul(each));
    if (ofBias.defined()) kernels::addRows(ofBias.unsqueeze(1), columns, each);
  }
}

void SpladeHead::backwardTiles(const at::Tensor& gradient, const at::Tensor& x, const Entries& entries,
                               const Pass& pass, at::Tensor& dx) const {
  const at::Tensor words = pass.weight(words_);
  const at::Tensor &ofWords = pass.gradient(words_), ofBias = biasGradient(pass);
  const at::Tensor& sequence = sequenceOfTokens(pass);
  const at::Tensor token = at::arange(x.size(0), sequence.options()).unsqueeze(1);
  const std::initializer_list<std::optional<at::Tensor>> places{entries.rows, entries.columns};
  const auto spread = [&](const at::Tensor& values, int64_t rest) {
    const at::Tensor all = at::full({pass.tokens.sequences(), vocabulary_}, rest, values.options());
    return all.index_put_(places, values);
  };
  const at::Tensor dy =
      spread(sum_ ? gradient : gradient.mul(slope(entries.values)).masked_fill_(entries.values.eq(0), 0), 0);
  const at::Tensor argmax = sum_ ? at::Tensor() : spread(entries.tokens, -1);
  overTiles(x, [&](int64_t begin, int64_t count) {
    at::Tensor dlogits = dy.narrow(1, begin, count).index_select(0, sequence);
    if (sum_) {
      const at::Tensor value = saturated(logits(x, begin, count, pass));
      dlogits.mul_(slope(value)).masked_fill_(value.eq(0), 0);
    } else {
      dlogits.masked_fill_(argmax.narrow(1, begin, count).index_select(0, sequence).ne(token), 0);
    }
    if (ofBias.defined()) kernels::addColumnSum(ofBias.narrow(0, begin, count), dlogits);
    const at::Tensor narrow = dlogits.to(x.scalar_type());
    dx.add_(at::mm(narrow, words.narrow(0, begin, count)));
    if (ofWords.defined()) addProduct(ofWords.narrow(0, begin, count), narrow, x);
  });
}

}  // namespace gradcache
