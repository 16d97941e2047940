// The recurrence of SRU and, with fewer terms, QRNN's pooling, over packed sequences. For each column, with
// c' the cell of the token before:
//   f = sigmoid(u_1 + v_f c' + b_f)      forget gate
//   c = f c' + (1 - f) u_0               cell
//   r = sigmoid(u_2 + v_r c' + b_r)      reset gate, from three projections on
//   h = m r (c - x) + x                  output; without a skip x = 0; without a reset gate h = m c
// m is the dropout mask, and x is skipScale times the skip.
#pragma once

#include <ATen/ATen.h>

#include <string_view>

#include "core/dropout_key.h"
#include "kernels/sequences.h"

namespace gradcache::kernels {

// From which end of a sequence its tokens are walked. kBoth: the first half of the columns from the first
// token on, the second half from the last token on.
enum class Direction { kForward, kReverse, kBoth };
// Throws INPUT unless the name is forward, reverse or both.
Direction directionNamed(std::string_view name);

struct RecurrenceOptions {
  int64_t projections = 3;  // 2: candidate and forget gate; 3: a reset gate too; 4: and the skip
  Direction direction = Direction::kForward;
  bool tanhCandidate = false;  // the candidate is tanh(u_0), as QRNN has it
  double skipScale = 1;
  DropoutKey mask{};
  bool maskPerToken = false;  // a mask for each token; else one for each sequence
};

// T tokens, n sequences, D columns of output (those of both directions). All are contiguous. u, skip,
// cellWeights and bias have the compute type; state and last are float32 (float64 for float64).
struct RecurrenceInputs {
  // [T, projections * D]. For each direction in turn, blocks of as many columns as it has: candidate, forget
  // gate, reset gate, skip.
  at::Tensor u;
  // [T, D]; undefined: there is none, or it is u's fourth block.
  at::Tensor skip{};
  // [gates, D], v_f and v_r, b_f and b_r; undefined: zeros. One gate with two projections, else two.
  at::Tensor cellWeights{}, bias{};
  // [n, D], before each sequence's first token; undefined: zeros.
  at::Tensor state{};

  int64_t width(const RecurrenceOptions& options) const { return u.size(1) / options.projections; }
};

struct Recurrence {
  at::Tensor h;      // [T, D]
  at::Tensor cells;  // [T, D]: c of each token, in the compute type; undefined unless saved
  at::Tensor last;   // [n, D]: c after each sequence's last token
};
// `save` keeps what recurrenceBackward needs. A sequence without tokens hands its state on.
Recurrence recurrence(const RecurrenceInputs& inputs, const Sequences& sequences,
                      const RecurrenceOptions& options, bool save);

struct RecurrenceGradients {
  at::Tensor u;      // [T, projections * D]
  at::Tensor skip;   // [T, D]; undefined without a skip of its own
  at::Tensor state;  // [n, D], float32 (float64)
};
// Of `saved`, only the cells are read. `dlast` may be undefined. Adds to the gradients of cellWeights and
// bias, where these are defined.
RecurrenceGradients recurrenceBackward(const at::Tensor& dh, const at::Tensor& dlast,
                                       const RecurrenceInputs& inputs, const Recurrence& saved,
                                       const Sequences& sequences, const RecurrenceOptions& options,
                                       const at::Tensor& cellWeightsGradient, const at::Tensor& biasGradient);

}  // namespace gradcache::kernels
