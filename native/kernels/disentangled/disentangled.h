// Attention that weighs positions apart from content (DeBERTa, He et al. 2021), over packed sequences. The
// score of a query and a key is that of their content, and that of each one's content with a vector of their
// distance:
//   scale * (q . k + q . keys[distance] + k . queries[distance])
// It is composed of libtorch's operators, for any device and type.
#pragma once

#include <ATen/ATen.h>

#include "core/dropout_key.h"
#include "kernels/attention/attention.h"
#include "kernels/sequences.h"

namespace gradcache::kernels {

struct DistanceVectors {
  at::Tensor keys;     // [rows, heads * size], met by the content of queries; undefined: there are none
  at::Tensor queries;  // [rows, heads * size], met by the content of keys; undefined: there are none
  // int64 [2 * longest - 1]: the row of query position - key position, from -(longest - 1) on.
  at::Tensor rowOfDistance;
};

// [T, heads * size]. qkv is as attention takes it. The form has as many heads of keys as of queries, no mask
// and no cap.
at::Tensor disentangledAttention(const at::Tensor& qkv, const DistanceVectors& vectors,
                                 const Sequences& sequences, const AttentionForm& form,
                                 const DropoutKey& key);

struct DisentangledGradients {
  at::Tensor qkv;
  at::Tensor keys, queries;  // undefined where there are no such vectors
};
// Needs nothing that forward made.
DisentangledGradients disentangledAttentionBackward(const at::Tensor& dout, const at::Tensor& qkv,
                                                    const DistanceVectors& vectors,
                                                    const Sequences& sequences, const AttentionForm& form,
                                                    const DropoutKey& key);

}  // namespace gradcache::kernels
