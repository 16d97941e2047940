// A chunk of texts without padding: all token ids end to end, and where each sequence begins.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace gradcache {

struct PackedTokens {
  // On the host: [tokens] ids and [tokens] positions as int64, [sequences + 1] offsets as int32, in one
  // buffer for one copy to a GPU. Pinned if it goes to a GPU, so that the copy does not wait.
  at::Tensor staged;
  bool anyPadding = false;
  int64_t paddingToken = -1;
  std::vector<int64_t> offsets;  // [sequences + 1]: nothing inside a pass asks the device for a length
  int64_t longest = 0;

  // On the encoder's device, after moveTo.
  at::Tensor ids;            // int64 [tokens]
  at::Tensor positions;      // int64 [tokens]
  at::Tensor deviceOffsets;  // int32 [sequences + 1]
  // bool [tokens, 1]: true where the text itself contains the padding token; undefined where none does.
  at::Tensor padding;

  int64_t sequences() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t tokens() const { return offsets.back(); }
  void moveTo(at::Device device);
};

// Which tokens an encoder accepts, and how it numbers their positions.
struct TokenRules {
  int64_t vocabulary = 0;
  int64_t positions = 0;  // rows of the position table
  // RoBERTa and its kin number real tokens from paddingToken + 1 and give padding tokens that place itself.
  bool afterPadding = false;
  int64_t paddingToken = -1;  // -1: the encoder has none
};

// Fills the host's part; `pinned` if moveTo will name a GPU. Throws INPUT for an empty chunk, an empty
// sequence, a token outside the vocabulary or a sequence that is too long.
PackedTokens packTokens(const int32_t* ids, int64_t idCount, const int32_t* lengths, int64_t sequences,
                        const TokenRules& rules, bool pinned);

}  // namespace gradcache
