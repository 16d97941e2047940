// Gradients of a table of words: the sums of the rows of tokens.
#pragma once

#include <ATen/ATen.h>

#include "model/pass.h"

namespace gradcache {

// Whether the table is trained.
bool hasWordGradient(const Pass& pass, ParameterId words);
// Adds rows [tokens, width] to the gradients of the tokens' words, in a fixed order. The padding row is not
// trained, even if a text contains the padding token: where the gradient is of rows, it is none of them.
void addWordRows(const Pass& pass, ParameterId words, const at::Tensor& rows);
// Rows [tokens, width] with zeros for the padding tokens that texts themselves contain.
at::Tensor withoutPadding(const Pass& pass, const at::Tensor& rows);

}  // namespace gradcache
