// The steps of late interaction over similarities of tokens: written for a CPU, and of libtorch's operators
// for any device.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace gradcache {

// Some texts of a tower. Text k has the tokens offsets[k] to offsets[k + 1] - 1 of the tower.
struct TextRange {
  const int64_t* offsets;  // [count + 1]; the first need not be 0
  int64_t count;

  int64_t tokens() const { return offsets[count] - offsets[0]; }
};

// Where the largest similarities of some tokens of queries go.
struct Maxima {
  const int64_t* rowOf;  // [tokens], ascending: the query of each token
  at::Tensor scores;     // float64 [queries, documents]: they are added
  at::Tensor
      best;  // int32 [tokens, documents]: the document's token that each is from, by its number in the tower
};

// similarities [tokens, tokens of the documents]. Where several are largest, the first counts. A document
// without tokens is passed over.
void addMaxima(const at::Tensor& similarities, const TextRange& documents, const Maxima& maxima);
void addMaximaComposite(const at::Tensor& similarities, const TextRange& documents, const Maxima& maxima);

// sums[rowOf[k]] += values[k], for ascending rows and in a fixed order. By libtorch's operators.
void addByRow(const at::Tensor& sums, const int64_t* rowOf, const at::Tensor& values);

// The gradient of scores, and the tokens that it reaches.
struct Shares {
  const int64_t* rowOf;  // [tokens]: the query of each token
  at::Tensor shares;     // [queries, documents], in the type of the tokens
  at::Tensor best;       // int32 [tokens, documents]: a token by its number in the tower, or -1
  int64_t firstToken;    // the number of the first of the tokens that are given
};

// Adds to the gradients of tokens of queries and of documents. No two documents share a token. Each sum has
// one order, so results are the same each time.
void addThroughMaxima(const Shares& shares, const at::Tensor& queries, const at::Tensor& documents,
                      const at::Tensor& ofQueries, const at::Tensor& ofDocuments);
// With tensors of about so many bytes.
void addThroughMaximaComposite(const Shares& shares, const at::Tensor& queries, const at::Tensor& documents,
                               const at::Tensor& ofQueries, const at::Tensor& ofDocuments, int64_t bytes);

}  // namespace gradcache
