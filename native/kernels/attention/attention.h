// Attention over packed sequences. A query that sees no key at all gives 0.
#pragma once

#include <ATen/ATen.h>
#include <algorithm>

#include "core/dropout_key.h"
#include "kernels/head_rows.h"
#include "kernels/sequences.h"

namespace gradcache::kernels {

// How queries meet keys.
struct AttentionForm {
  static constexpr int64_t kUnlimited = int64_t{1} << 40;

  int64_t heads;        // of queries
  int64_t keyHeads;     // of keys and of values: each serves heads / keyHeads heads of queries, neighbours
  int64_t size;         // of one head
  double scale;         // of the scores
  bool causal = false;  // a query sees no key behind its own place
  int64_t window = kUnlimited;  // the farthest key that a query sees
  double softCap = 0;           // c: scores are c * tanh(score / c); 0: as they are

  // As many heads of keys as of queries, scores scaled by 1 / sqrt(size), and every key seen.
  static AttentionForm plain(int64_t heads, int64_t size);

  int64_t columns() const { return (heads + 2 * keyHeads) * size; }
  bool windowed(int64_t longest) const { return window < longest - 1; }
  // Whether every query sees every key of its sequence.
  bool seesAll(int64_t longest) const { return !causal && !windowed(longest); }
  // The most keys that a query of so long a sequence sees.
  int64_t keysSeen(int64_t longest) const {
    return windowed(longest) ? std::min(longest, (causal ? 1 : 2) * window + 1) : longest;
  }
};

struct Attention {
  at::Tensor out;                            // [T, heads * size]
  at::Tensor normalizer;                     // [heads, T]: log of the softmax's denominator; undefined where
                                             // backward computes it again
  at::Tensor randomState{}, randomUnused{};  // of flash attention's dropout
};
// `distanceBias` [heads, 2 * longest - 1] or undefined is added to the scores at key position - query
// position + longest - 1; not beside a soft cap. `room` is for so many columns behind `out` (kernels/room.h),
// which the library's kernel for CUDA leaves.
Attention attention(const HeadRows& rows, const Sequences& sequences, const AttentionForm& form,
                    const at::Tensor& distanceBias, const DropoutKey& key, int64_t room = 0);
// Returns dL/dqkv [T, form.columns()], with `room` behind it as above; adds to the gradient of distanceBias
// if defined.
at::Tensor attentionBackward(const at::Tensor& dout, const HeadRows& rows, const Attention& saved,
                             const Sequences& sequences, const AttentionForm& form,
                             const at::Tensor& distanceBias, const DropoutKey& key,
                             const at::Tensor& distanceBiasGradient, int64_t room = 0);

}  // namespace gradcache::kernels
