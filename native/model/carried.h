// What a recurrent model hands from one segment of its sequences to the next, a tensor a slot. Blocks get
// their slots from the builder.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace gradcache {

enum class CarriedKind {
  kState,   // [sequences, width], float32 (float64); has a gradient
  kMemory,  // [sequences, rows, width] in the compute type: a layer's latest inputs, a constant
};

struct CarriedSlot {
  CarriedKind kind;
  int64_t width;
};

// Of one pass, indexed by slot.
struct Carried {
  // A forward reads the first (undefined: zeros, or no memory) and writes the second.
  std::vector<at::Tensor> before, after;
  // A backward reads the first (undefined: zeros) and writes the second. Undefined for memory.
  std::vector<at::Tensor> afterGradient, beforeGradient;

  int64_t memory = 0;  // the most rows of memory that a layer hands on for each sequence
  int64_t window = 0;  // to how many tokens before its own a token attends; 0: to all
  // [sequences]: how many rows of memory, the latest, are of the sequence's own text. Empty: all are.
  std::vector<int64_t> remembered;

  explicit Carried(size_t slots) : before(slots), after(slots), afterGradient(slots), beforeGradient(slots) {}
};

}  // namespace gradcache
