// SPLADE (Formal et al. 2021): a row has a column for each word of the vocabulary, the logits of a masked
// language model, cut off below 0, saturated by a logarithm, and pooled over the tokens of a sequence.
//
// In training a sequence's row is a list of its columns that are not 0, one [value, column] each, because few
// are, and because the others have no gradient: the cut-off stops it. A sequence whose columns are all 0 has
// the entry [0, 0]. Logits of tokens exist for a tile of the vocabulary at a time.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/settings.h"
#include "model/head.h"
#include "model/parameters.h"

namespace gradcache {

class SpladeHead final : public Head, public std::enable_shared_from_this<SpladeHead> {
 public:
  // Compares rows of the setting `width` with the vectors `words` [vocabulary, width], which are declared
  // unless `ownWords` is true,
  // and adds the bias `bias` where that is named. `pooling` is max or sum, `logarithms` 1 or 2.
  SpladeHead(const Settings& settings, int64_t vocabulary, ParameterList& list);

  // Rows are the entries of all sequences, [n, 2].
  Encoded forward(const at::Tensor& x, const std::shared_ptr<const Pass>& pass, bool graph) const override;
  at::Tensor dense(const at::Tensor& x, const std::shared_ptr<const Pass>& pass) const override;
  int64_t dimension() const override { return vocabulary_; }
  int64_t columns() const override { return 2; }
  bool oneRow() const override { return false; }
  int64_t tapeBytes(const ChunkSize& chunk) const override;

 private:
  struct Pooled {
    at::Tensor y;       // [sequences, vocabulary]
    at::Tensor argmax;  // int32, like y: the token of each maximum; undefined where tokens are summed
  };
  struct Entries {
    at::Tensor rows, columns, values;  // [n]
    at::Tensor tokens;                 // int64 [n]: where each maximum is from
  };

  at::Tensor biasGradient(const Pass& pass) const { return bias_ ? pass.gradient(*bias_) : at::Tensor(); }
  Pooled pool(const at::Tensor& x, const Pass& pass) const;
  at::Tensor logits(const at::Tensor& x, int64_t begin, int64_t count, const Pass& pass) const;
  at::Tensor saturated(at::Tensor logits) const;
  // The slope of saturated(z) at z above 0, from its value.
  at::Tensor slope(const at::Tensor& value) const;
  Entries entries(const Pooled& pooled) const;
  void overTiles(const at::Tensor& x, const std::function<void(int64_t begin, int64_t count)>& work) const;

  // dL/dx from dL/d(values): entry by entry, where each is from one token and they are few, or by tiles of
  // all logits.
  at::Tensor backward(const at::Tensor& gradient, const at::Tensor& x, const Entries& entries,
                      const Pass& pass) const;
  void backwardEntries(const at::Tensor& gradient, const at::Tensor& x, const Entries& entries,
                       const Pass& pass, at::Tensor& dx) const;
  void backwardTiles(const at::Tensor& gradient, const at::Tensor& x, const Entries& entries,
                     const Pass& pass, at::Tensor& dx) const;

  // Notes how many columns above 0 the rows of a chunk have.
  void note(int64_t entries, int64_t sequences) const;

  int64_t width_, vocabulary_;
  bool sum_, twice_;
  ParameterId words_;
  std::optional<ParameterId> bias_;
  bool trained_;
  // About the most columns above 0 that a row has had on average in a chunk, lately; before the first, all.
  mutable std::atomic<int64_t> active_;
};

}  // namespace gradcache
