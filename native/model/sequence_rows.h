// Packed tokens as numbers on the device: which sequence a token is of, where sequences begin and end. Made
// once a pass.
#pragma once

#include <ATen/ATen.h>

#include "model/pass.h"

namespace gradcache {

// int64 [T]: the number of each token's sequence.
const at::Tensor& sequenceOfTokens(const Pass& pass);
// int64 [n]: each sequence's first token, and its last.
const at::Tensor& firstTokens(const Pass& pass);
const at::Tensor& lastTokens(const Pass& pass);
bool sameLengths(const Pass& pass);

// x [T, width] as [n, longest, width], with zeros where a sequence has no more tokens, and back.
at::Tensor padded(const at::Tensor& x, const Pass& pass);
at::Tensor packed(const at::Tensor& x, const Pass& pass);

// x [T, width] under a dropout that all tokens of a sequence share. Its own backward.
at::Tensor dropoutOfSequences(const at::Tensor& x, const DropoutKey& key, const Pass& pass);

}  // namespace gradcache
