// Checks the arguments of the operators and converts them for the kernels. Callers may pass anything; every
// mistake throws SHAPE, DTYPE, DEVICE or INPUT.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "kernels/norm/norm.h"
#include "kernels/sequences.h"

namespace gradcache::kernels {

// Parameters (scales, biases, tables) have the type of the rows, or this wider one for accurate gradients:
// float64 for float64, float32 otherwise.
at::ScalarType wideType(const at::Tensor& rows);

// The tensor as the kernels need it: contiguous, and aligned for vector loads on CUDA.
at::Tensor readable(const at::Tensor& tensor);

// `tensor` must be a matrix of a floating type with at least one row and one column.
at::Tensor rowsArgument(const char* name, const at::Tensor& tensor);
// `tensor` must have the type, device and shape of `rows`.
at::Tensor likeRows(const char* name, const at::Tensor& tensor, const at::Tensor& rows);
// `tensor` must have that shape; it is converted to the type of `rows`.
at::Tensor parameterArgument(const char* name, const at::Tensor& tensor, const at::Tensor& rows,
                             at::IntArrayRef shape);
// Undefined where there is none.
at::Tensor parameterArgument(const char* name, const std::optional<at::Tensor>& tensor,
                             const at::Tensor& rows, at::IntArrayRef shape);
// The same, converted to the wide type of the rows.
at::Tensor wideArgument(const char* name, const std::optional<at::Tensor>& tensor, const at::Tensor& rows,
                        at::IntArrayRef shape);
// Scale and shift [H] of rows [T, H]; the shift may be undefined.
NormWeights normWeights(const at::Tensor& scale, const at::Tensor& shift, double epsilon,
                        const at::Tensor& rows);
// `count` indices of rows of `table`, int64. Their range is checked here on the CPU; on CUDA by an assertion
// on the device, because reading it here would wait for the device.
at::Tensor indicesArgument(const char* name, const at::Tensor& indices, const at::Tensor& table,
                           int64_t count);

// The dropout of an operator as its schema spells it.
struct DropoutArgument {
  double probability;
  int64_t seed, site;

  DropoutKey key() const;  // throws INPUT for a share that is not in [0, 1)
};

// Packed sequences that own what kernels::Sequences refers to.
class SequencesArgument {
 public:
  // Offsets must rise from 0 to the number of rows.
  SequencesArgument(at::IntArrayRef offsets, const at::Tensor& rows);
  // As checked before.
  SequencesArgument(std::vector<int64_t> offsets, at::Tensor deviceOffsets);

  // The first counts[k] tokens of sequence k are attended to, the others not.
  void attendTo(at::IntArrayRef counts);

  Sequences sequences() const {
    return {offsets_, deviceOffsets_, longest_, 0, keyEnds_.empty() ? nullptr : &keyEnds_, deviceKeyEnds_};
  }

 private:
  void measure();

  std::vector<int64_t> offsets_;
  at::Tensor deviceOffsets_;
  int64_t longest_ = 0;
  std::vector<int64_t> keyEnds_;
  at::Tensor deviceKeyEnds_;
};

}  // namespace gradcache::kernels
