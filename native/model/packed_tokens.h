// A batch of texts as token ids, and a chunk of it without padding: all token ids end to end, and where each
// sequence begins.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace gradcache {

struct PackedTokens {
  // On the host: [tokens] ids and [tokens] positions as int64, [sequences + 1] offsets as int32, and what
  // below is said to be behind them, in one buffer for one copy to a GPU. Pinned if it goes to a GPU, so that
  // the copy does not wait.
  at::Tensor staged;
  bool anyPadding = false;
  bool anyTypes = false;  // then `staged` also has [tokens] types
  // [sequences], as kernels::Sequences::keyEnds; empty where all tokens are attended to. Else `staged` has
  // them too.
  std::vector<int64_t> keyEnds;
  int64_t paddingToken = -1;
  // How many tokens count as representations where a text has one for each token. Where not all do, the
  // numbers of those that do are at the end of `staged`.
  int64_t countedTokens = 0;
  std::vector<int32_t> countsBySequence;  // the same for each sequence
  std::vector<int64_t> offsets;  // [sequences + 1]: nothing inside a pass asks the device for a length
  int64_t longest = 0;
  int64_t skipped = 0;  // as kernels::Sequences::skipped

  // On the encoder's device, after moveTo.
  at::Tensor ids;            // int64 [tokens]
  at::Tensor positions;      // int64 [tokens]
  at::Tensor deviceOffsets;  // int32 [sequences + 1]
  // bool [tokens, 1]: true where the text itself contains the padding token; undefined where none does.
  at::Tensor padding;
  at::Tensor types;          // int64 [tokens]; undefined where all tokens have type 0
  at::Tensor counted;        // int64 [countedTokens]; undefined where all tokens count
  at::Tensor deviceKeyEnds;  // int64 [sequences]; undefined where all tokens are attended to

  int64_t sequences() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t tokens() const { return offsets.back(); }
  // How many numbers of tokens that count there are in `staged`.
  int64_t namedTokens() const { return countedTokens < tokens() ? countedTokens : 0; }
  void moveTo(at::Device device);
};

// Which tokens an encoder accepts, and how it numbers their positions.
struct TokenRules {
  int64_t vocabulary = 0;
  int64_t positions = 0;  // rows of the position table
  // RoBERTa and its kin number real tokens from paddingToken + 1 and give padding tokens that place itself.
  bool afterPadding = false;
  int64_t paddingToken = -1;  // -1: the encoder has none
  int64_t types = 0;          // rows of the type table; 0: the encoder has none
  // Whether tokens can be left out of what others attend to, and have representations all the same.
  bool unattended = true;

  bool operator==(const TokenRules&) const = default;
};

// The texts of a batch, checked once and never changed. A chunk is a list of its rows.
class TokenBatch {
 public:
  // Text k has the ids from offsets[k] to offsets[k + 1]; offsets begin at 0. `numbers` are the texts'
  // numbers in messages, where the batch is a part of a larger one; empty: they are numbered from 0. `types`
  // has the type of each token; empty: 0. `counts` has 0 for each token that is no representation; empty: all
  // are. `skipped` tokens at the beginning of each text are not pooled. To the last unattended[k] tokens of
  // text k no token attends; empty: to all some may. Throws SHAPE for offsets that do not cut the ids into
  // texts, INPUT for a text without token, with too many, none that counts, none that is pooled or none that
  // is attended to, and for a token or type that the encoder has no row for.
  TokenBatch(std::vector<int32_t> ids, std::vector<int32_t> offsets, std::vector<int32_t> numbers,
             const TokenRules& rules, std::vector<int32_t> types = {}, std::vector<uint8_t> counts = {},
             int64_t skipped = 0, std::vector<int32_t> unattended = {});

  int64_t rows() const { return static_cast<int64_t>(offsets_.size()) - 1; }
  const TokenRules& rules() const { return rules_; }
  // The tokens that count.
  int64_t countedTokens() const { return counted(rows()); }
  // The numbers of the tokens of these rows among those that count in the batch. Throws SHAPE for a row that
  // is not in the batch.
  std::vector<int32_t> countedPlaces(const std::vector<int32_t>& rows) const;
  // The host's part of a chunk; `pinned` where moveTo will name a GPU. `tokens` is what the caller takes the
  // rows to have together. Throws SHAPE where that is wrong or a row is not in the batch, INPUT for no rows
  // or more tokens than 32 bits count.
  PackedTokens pack(const std::vector<int32_t>& rows, int64_t tokens, bool pinned) const;

 private:
  int64_t length(int32_t row) const { return int64_t{offsets_[row + 1]} - offsets_[row]; }

  void requireRow(int32_t row) const;
  // Tokens that count before a row.
  int64_t counted(int64_t row) const { return counts_.empty() ? offsets_[row] : countedOffsets_[row]; }

  std::vector<int32_t> ids_, offsets_, types_;
  std::vector<uint8_t> counts_;
  std::vector<int32_t> countedOffsets_;  // [rows + 1]; empty where all tokens count
  int64_t skipped_;
  std::vector<int32_t> unattended_;  // [rows]; empty where all tokens are attended to
  TokenRules rules_;
};

}  // namespace gradcache
