// Attention with few, wide heads over packed sequences and what is remembered of each, as SRU++ has it. Heads
// may be wider than the attention kernels take, so it is made of matrix products; the scores of one call are
// all that it holds, and the backward computes them again.
#pragma once

#include <ATen/ATen.h>

#include "core/dropout_key.h"
#include "model/pass.h"

namespace gradcache {

struct WideAttention {
  at::Tensor q;   // [T, H]: queries
  at::Tensor kv;  // [T, 2 H]: keys, values
  // [n, rows, 2 H]: keys and values of the tokens before each sequence's own; undefined: none.
  at::Tensor remembered{};
  int64_t heads = 1;
  // A token attends to no later one, and only as far back as the pass says. Else to all of its sequence.
  bool causal = false;
  DropoutKey key{};
};

// [T, H].
at::Tensor wideAttention(const WideAttention& attention, const Pass& pass);

struct WideAttentionGradients {
  at::Tensor q, kv, remembered;
};
WideAttentionGradients wideAttentionBackward(const at::Tensor& dout, const WideAttention& attention,
                                             const Pass& pass);

}  // namespace gradcache
