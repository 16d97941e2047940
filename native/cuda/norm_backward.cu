#include "cuda/norm_backward.cuh"

using namespace gradcache;
using namespace gradcache::cuda;

size_t gradcache_norm_backward_scratch(const GradcacheRows* rows) {
  if (checkRows(rows, kWidestNorm)) return 0;
  const int64_t blocks = BackwardLayout::of(rows->width, /*one=*/false).blocks(rows->tokens);
  // One sum, of more blocks, takes less.
  return static_cast<size_t>(blocks * kSumsOf<Gradients::kParameters> * rows->width) * sizeof(float);
}

int gradcache_norm_backward(const GradcacheRows* rows, const void* dy, const void* beside,
                            int64_t besideStride, const void* sum, const float* mean, const float* rstd,
                            const void* scale, const void* shift, int rootSquare, float offset,
                            DropoutKey key, void* dsum, int64_t dsumStride, void* dx, int64_t dxStride,
                            void* y, float* scaleGradient, float* shiftGradient, float* biasGradient,
                            void* scratch) {
  if (cudaError_t error = checkRows(rows, kWidestNorm)) return error;
  if (cudaError_t error = checkAligned(dy, beside, sum, scale, shift, dsum, dx, y, scratch)) return error;
  for (const int64_t stride : {besideStride, dsumStride, dxStride})
    if (cudaError_t error = checkStride(stride, rows->width)) return error;
  if (rows->tokens == 0) return cudaSuccess;
  return withType(rows->type, [&](auto type) {
    using T = decltype(type);
    NormBackward<T> a{};
    a.dy = static_cast<const T*>(dy);
    a.beside = static_cast<const T*>(beside);
    a.sum = static_cast<const T*>(sum);
    a.mean = mean;
    a.rstd = rstd;
    a.scale = static_cast<const T*>(scale);
    a.shift = static_cast<const T*>(shift);
    a.besideVectors = static_cast<int>(besideStride / kVectorWidth);
    a.dsumVectors = static_cast<int>(dsumStride / kVectorWidth);
    a.dxVectors = static_cast<int>(dxStride / kVectorWidth);
    a.dsum = static_cast<T*>(dsum);
    a.dx = dx == dsum ? nullptr : static_cast<T*>(dx);
    a.y = static_cast<T*>(y);
    a.partials = static_cast<float*>(scratch);
    a.rootSquare = rootSquare != 0;
    a.offset = offset;
    a.key = key;
    const auto stream = static_cast<cudaStream_t>(rows->stream);
    if (!shift && !shiftGradient && !biasGradient)
      return normBackward<T, Summed::kBranch, Gradients::kScale>(*rows, a, {{scaleGradient}, 1}, stream);
    return normBackward<T, Summed::kBranch, Gradients::kParameters>(
        *rows, a, {{scaleGradient, shiftGradient, biasGradient}, 3}, stream);
  });
}
