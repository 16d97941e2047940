// A chunk of texts without padding: all token ids end to end, and where each sequence begins.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace gradcache {

struct PackedTokens {
  at::Tensor ids;        // int64 [tokens], on the encoder's device
  at::Tensor positions;  // int64 [tokens], on the encoder's device
  at::Tensor lengths;    // int64 [sequences], on the encoder's device
  at::Tensor
      padding;  // bool [tokens, 1]: the padding token itself, spelt out in a text; undefined where none is
  std::vector<int64_t>
      offsets;  // [sequences + 1], on the host: nothing inside a pass asks the device for a length
  int64_t longest = 0;

  int64_t sequences() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t tokens() const { return offsets.back(); }
};

struct PositionRule {
  int64_t count = 0;  // rows of the position table
  // RoBERTa and its kin number real tokens from paddingToken + 1 and give padding tokens that place itself.
  bool afterPadding = false;
  int64_t paddingToken = -1;  // -1: the encoder has none
};

// Throws INPUT for an empty chunk, an empty sequence, a token outside the vocabulary or a sequence that is
// too long.
PackedTokens packTokens(const int32_t* ids, int64_t idCount, const int32_t* lengths, int64_t sequences,
                        int64_t vocabulary, const PositionRule& rule, at::Device device);

}  // namespace gradcache
