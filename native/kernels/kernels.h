// The pieces of an encoder that libtorch has no single operator for. Each has a version written for the CPU
// (float32, float64; kernels/cpu), one for CUDA (float32, bfloat16; kernels/cuda, through
// kernels/cuda_bridge), and one composed of ATen operators for everything else (kernels/composite). All drop
// out the same elements for the same key. Types: [T, H] is tokens by features, in the type that computes;
// statistics and parameter gradients are float32 (float64 where that computes).
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "core/dropout_key.h"

namespace gradcache::kernels {

// ---- dropout
// --------------------------------------------------------------------------------------------------- x [T,
// H] with the elements that `key` drops set to zero and the others scaled. Its own backward.
at::Tensor dropout(const at::Tensor& x, const DropoutKey& key);
// The same of x [..., width], whose rows are those that `numbers` (int64 [...]) counts.
at::Tensor dropout(const at::Tensor& x, const at::Tensor& numbers, const DropoutKey& key);

// ---- layer norm of a residual sum
// --------------------------------------------------------------------------------
struct NormWeights {
  at::Tensor scale, shift;  // [H]
  double epsilon = 1e-12;
};
struct Norm {
  at::Tensor y;           // [T, H]: norm(sum) * scale + shift
  at::Tensor sum;         // [T, H]: residual + dropout(x + bias); undefined unless saved
  at::Tensor mean, rstd;  // [T]; undefined unless saved
};
// `bias` and `residual` may be undefined. `save` keeps what normBackward needs.
Norm norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual, const NormWeights& weights,
          const DropoutKey& key, bool save);

struct NormGradients {
  at::Tensor sum;  // dL/d(residual), [T, H]
  at::Tensor x;    // dL/dx: the same behind the dropout
  at::Tensor y;    // the forward's output, computed again
};
// Adds to the gradients of scale, shift and (where defined) bias.
NormGradients normBackward(const at::Tensor& dy, const Norm& saved, const NormWeights& weights,
                           const DropoutKey& key, const at::Tensor& scaleGradient,
                           const at::Tensor& shiftGradient, const at::Tensor& biasGradient);

// ---- bias and activation
// -----------------------------------------------------------------------------------------
enum class Activation { kGelu, kGeluTanh, kRelu };

at::Tensor activation(const at::Tensor& x, const at::Tensor& bias, Activation kind);
struct ActivationGradients {
  at::Tensor x;  // dL/dx
  at::Tensor y;  // the forward's output, computed again
};
// Adds to the gradient of the bias.
ActivationGradients activationBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                                       Activation kind, const at::Tensor& biasGradient);

// ---- attention over packed sequences
// -----------------------------------------------------------------------------
struct Sequences {
  const std::vector<int64_t>& offsets;  // [n + 1], on the host
  const at::Tensor& deviceOffsets;      // int32 [n + 1], on the device of the tokens
  int64_t longest;
};
struct Attention {
  at::Tensor out;                            // [T, H]
  at::Tensor normalizer;                     // [heads, T]: log of the softmax's denominator; undefined where
                                             // backward computes it again
  at::Tensor randomState{}, randomUnused{};  // of flash attention's dropout
};
// qkv [T, 3 H]: queries, keys, values of all heads. `distanceBias` [heads, 2 * longest - 1] or undefined:
// what is added to the scores at key position - query position + longest - 1. Scores are scaled by 1 / sqrt(H
// / heads).
Attention attention(const at::Tensor& qkv, const Sequences& sequences, int64_t heads,
                    const at::Tensor& distanceBias, const DropoutKey& key);
// dL/dqkv; adds to the gradient of distanceBias where that is defined.
at::Tensor attentionBackward(const at::Tensor& dout, const at::Tensor& qkv, const Attention& saved,
                             const Sequences& sequences, int64_t heads, const at::Tensor& distanceBias,
                             const DropoutKey& key, const at::Tensor& distanceBiasGradient);

// ---- pooling
// ------------------------------------------------------------------------------------------------------
enum class Pooling { kMean, kCls, kMax, kLast };
constexpr double kLeastNorm = 1e-12;  // what a row is divided by, at least, where it is normalised

struct Pooled {
  at::Tensor y;       // [sequences, H], float32 (float64)
  at::Tensor norms;   // [sequences]: Euclidean, before they are divided by; undefined unless they are
  at::Tensor argmax;  // int32 [sequences, H]: the token that each maximum is from; undefined but for kMax
};
// One row for each sequence of x [T, H]: the mean of its tokens, its first or last token, or the largest
// value that a token has in each column (the first such token's; NaN is larger than any number).
// `normalize` divides each row by its norm.
Pooled pool(const at::Tensor& x, const Sequences& sequences, Pooling pooling, bool normalize);
// dL/dx, [T, H], in `type`, the type of x; a maximum's goes to its token. Of `saved`, y is needed only where
// rows were normalised.
at::Tensor poolBackward(const at::Tensor& dy, const Pooled& saved, const Sequences& sequences,
                        Pooling pooling, at::ScalarType type);

// ---- embeddings
// ---------------------------------------------------------------------------------------------------
struct Embedding {
  at::Tensor words, positions;  // tables [rows, H]
  at::Tensor type;              // [H], or undefined
  at::Tensor ids, places;       // int64 [T]: rows of the two tables
};
// y = dropout(norm(words[ids] + positions[places] + type)); `sum` and the statistics as in norm.
Norm embed(const Embedding& embedding, const NormWeights& weights, const DropoutKey& key, bool save);
// dL/d(sum), [T, H]; adds to the gradients of scale and shift, and its own sum over tokens to that of type
// where defined.
at::Tensor embedBackward(const at::Tensor& dy, const Norm& saved, const NormWeights& weights,
                         const DropoutKey& key, const at::Tensor& scaleGradient,
                         const at::Tensor& shiftGradient, const at::Tensor& typeGradient);

// gradient += the sum over tokens of rows [T, H].
void addColumnSum(const at::Tensor& gradient, const at::Tensor& rows);

// ---- rows of a table
// ---------------------------------------------------------------------------------------------
// table[indices[t]] += rows[t], in a fixed order.
void addRows(const at::Tensor& table, const at::Tensor& indices, const at::Tensor& rows);

}  // namespace gradcache::kernels
