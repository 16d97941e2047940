#include "kernels/cuda/rows.h"
#include "kernels/pool/versions.h"

namespace gradcache::kernels::cuda {

namespace {

constexpr int64_t kWidestPooled = 4096;

GradcachePooling kindOf(Pooling pooling) {
  switch (pooling) {
    case Pooling::kMean:
      return GRADCACHE_MEAN;
    case Pooling::kCls:
      return GRADCACHE_CLS;
    case Pooling::kMax:
      return GRADCACHE_MAX;
    case Pooling::kLast:
      return GRADCACHE_LAST;
    case Pooling::kMeanSqrtLength:
    case Pooling::kWeightedMean:
      break;  // pool.cc leaves them to the composite version
  }
  return GRADCACHE_MEAN;
}

GradcacheRows describe(const Sequences& sequences, const at::Tensor& tensor, at::ScalarType type) {
  return {typeOf(type), sequences.offsets.back(), tensor.size(1), currentStream(tensor.device())};
}

template <class T>
T* dataOrNull(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data_ptr<T>() : nullptr;
}

}  // namespace

bool takesPooling(const at::Tensor& tensor, at::ScalarType type) {
  return takesRows(tensor) && tensor.size(1) <= kWidestPooled && isStored(type);
}

Pooled pool(const at::Tensor& x, const Sequences& sequences, Pooling pooling, bool normalize) {
  const int64_t n = static_cast<int64_t>(sequences.offsets.size()) - 1, width = x.size(1);
  const at::TensorOptions wide = x.options().dtype(at::kFloat);
  Pooled result;
  result.y = at::empty({n, width}, wide);
  if (normalize) result.norms = at::empty({n}, wide);
  if (pooling == Pooling::kMax) result.argmax = at::empty({n, width}, wide.dtype(at::kInt));
  const GradcacheRows rows = describe(sequences, x, x.scalar_type());
  check(
      library().poolForward(&rows, sequences.deviceOffsets.const_data_ptr<int32_t>(), static_cast<int32_t>(n),
                            kindOf(pooling), x.const_data_ptr(), result.y.mutable_data_ptr<float>(),
                            dataOrNull<float>(result.norms), dataOrNull<int32_t>(result.argmax)),
      "pooling");
  return result;
}

at::Tensor poolBackward(const at::Tensor& dy, const Pooled& saved, const Sequences& sequences,
                        Pooling pooling, at::ScalarType type) {
  at::Tensor gradient = dy.contiguous();
  at::Tensor dx = at::empty({sequences.offsets.back(), dy.size(1)}, dy.options().dtype(type));
  const GradcacheRows rows = describe(sequences, dy, type);
  check(library().poolBackward(
            &rows, sequences.deviceOffsets.const_data_ptr<int32_t>(), static_cast<int32_t>(dy.size(0)),
            kindOf(pooling), gradient.const_data_ptr<float>(),
            saved.norms.defined() ? saved.y.const_data_ptr<float>() : nullptr, dataOrNull<float>(saved.norms),
            dataOrNull<int32_t>(saved.argmax), dx.mutable_data_ptr()),
        "pooling backward");
  return dx;
}

}  // namespace gradcache::kernels::cuda
