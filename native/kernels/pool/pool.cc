#include "kernels/pool/pool.h"

#include "core/error.h"
#include "kernels/cpu/takes.h"
#include "kernels/pool/versions.h"

namespace gradcache::kernels {

Pooling poolingNamed(std::string_view name) {
  if (name == "mean") return Pooling::kMean;
  if (name == "cls") return Pooling::kCls;
  if (name == "max") return Pooling::kMax;
  if (name == "last") return Pooling::kLast;
  if (name == "mean-sqrt-length") return Pooling::kMeanSqrtLength;
  if (name == "weighted-mean") return Pooling::kWeightedMean;
  fail("INPUT", "pooling '", name,
       "' is unknown; use mean, cls, max, last, mean-sqrt-length or weighted-mean");
}

namespace {
// Rare poolings are left to libtorch's operators: beside the encoder they cost little.
bool isUsual(Pooling pooling, const Sequences& sequences) {
  return sequences.skipped == 0 && pooling != Pooling::kMeanSqrtLength && pooling != Pooling::kWeightedMean;
}
}  // namespace

Pooled pool(const at::Tensor& x, const Sequences& sequences, Pooling pooling, bool normalize) {
  const bool usual = isUsual(pooling, sequences);
  if (usual && cuda::takesPooling(x, x.scalar_type())) return cuda::pool(x, sequences, pooling, normalize);
  return usual && cpu::takes(x) ? cpu::pool(x, sequences, pooling, normalize)
                                : composite::pool(x, sequences, pooling, normalize);
}

at::Tensor poolBackward(const at::Tensor& dy, const Pooled& saved, const Sequences& sequences,
                        Pooling pooling, at::ScalarType type) {
  const bool usual = isUsual(pooling, sequences);
  if (usual && cuda::takesPooling(dy, type)) return cuda::poolBackward(dy, saved, sequences, pooling, type);
  return usual && cpu::takes(dy) && dy.scalar_type() == type
             ? cpu::poolBackward(dy, saved, sequences, pooling)
             : composite::poolBackward(dy, saved, sequences, pooling, type);
}

}  // namespace gradcache::kernels
