// What queries and keys go through between their projection and attention: a norm of each head, and rotary
// position embedding (Su et al. 2021).
#pragma once

#include <ATen/ATen.h>

#include "kernels/head_rows.h"

namespace gradcache::kernels {

// Rows of queries, keys and values: values have as many heads as keys.
struct HeadLayout {
  int64_t queries, keys, size;  // heads, and features of each

  int64_t valueColumns() const { return keys * size; }
};

// Divides each head by the root of its mean square, and scales it by `query` or `key`, plus `offset`.
struct HeadNorms {
  at::Tensor query, key;  // [size] in the compute type; undefined: there is no norm
  double epsilon = 1e-6, offset = 0;

  bool any() const { return query.defined(); }
};

// Turns the pairs of features (i, i + pairs) of each head; features behind 2 * pairs stay as they are.
struct Rotation {
  at::Tensor cosines, sines;  // [positions, pairs], float32 (float64 for float64); undefined: none is turned
  at::Tensor positions;       // int64 [T]

  bool any() const { return cosines.defined(); }
};

// From qkv [T, (queries + 2 * keys) * size], contiguous. Without norms, qkv is written over. The result may
// share its values.
HeadRows preparedHeads(const at::Tensor& qkv, const HeadLayout& layout, const HeadNorms& norms,
                       const Rotation& rotation);
// dL/dqkv from the gradient of the prepared rows, which may lie apart, written over it. `qkv` is what the
// forward was given; only norms need it. Adds to the gradients of the norms' scales, [size] in the wide type,
// where they are defined.
at::Tensor preparedHeadsBackward(const at::Tensor& dprepared, const at::Tensor& qkv, const HeadLayout& layout,
                                 const HeadNorms& norms, const Rotation& rotation,
                                 const at::Tensor& queryGradient, const at::Tensor& keyGradient);

}  // namespace gradcache::kernels
