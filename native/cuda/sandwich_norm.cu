#include "cuda/norm_backward.cuh"
#include "cuda/norm_forward.cuh"

using namespace gradcache;
using namespace gradcache::cuda;

int gradcache_sandwich_norm_forward(const GradcacheRows* rows, const GradcacheSandwich* s, DropoutKey key,
                                    void* y, int64_t yStride, void* sum, float* mean, float* rstd,
                                    void* innerSum, float* innerMean, float* innerRstd) {
  if (cudaError_t error = checkRows(rows, kWidestNorm)) return error;
  if (cudaError_t error = checkAligned(s->x, s->bias, s->residual, s->innerScale, s->innerShift, s->scale,
                                       s->shift, y, sum, innerSum))
    return error;
  if (cudaError_t error = checkStride(yStride, rows->width)) return error;
  if (rows->tokens == 0) return cudaSuccess;
  return withType(rows->type, [&](auto type) {
    using T = decltype(type);
    NormForward<T> a{};
    a.x = static_cast<const T*>(s->x);
    a.bias = static_cast<const T*>(s->bias);
    a.residual = static_cast<const T*>(s->residual);
    a.scale = static_cast<const T*>(s->scale);
    a.shift = static_cast<const T*>(s->shift);
    a.y = static_cast<T*>(y);
    a.yVectors = static_cast<int>(yStride / kVectorWidth);
    a.sum = static_cast<T*>(sum);
    a.mean = mean;
    a.rstd = rstd;
    a.rootSquare = s->rootSquare != 0;
    a.offset = s->offset;
    a.epsilon = s->epsilon;
    a.key = key;
    a.inner = {static_cast<const T*>(s->innerScale), static_cast<const T*>(s->innerShift),
               static_cast<T*>(innerSum), innerMean, innerRstd};
    return normForward<T, Summed::kNormedBranch>(*rows, a, static_cast<cudaStream_t>(rows->stream));
  });
}

int gradcache_sandwich_norm_backward(const GradcacheRows* rows, const GradcacheSandwichBackward* s,
                                     void* dsum, void* dx, int64_t dxStride, void* y, float* scaleGradient,
                                     float* innerScaleGradient, void* scratch) {
  if (cudaError_t error = checkRows(rows, kWidestNorm)) return error;
  if (cudaError_t error =
          checkAligned(s->dy, s->beside, s->sum, s->scale, s->innerSum, s->innerScale, dsum, dx, y, scratch))
    return error;
  for (const int64_t stride : {s->besideStride, dxStride})
    if (cudaError_t error = checkStride(stride, rows->width)) return error;
  if (rows->tokens == 0) return cudaSuccess;
  return withType(rows->type, [&](auto type) {
    using T = decltype(type);
    NormBackward<T> a{};
    a.besideVectors = static_cast<int>(s->besideStride / kVectorWidth);
    a.dsumVectors = static_cast<int>(rows->width / kVectorWidth);
    a.dxVectors = static_cast<int>(dxStride / kVectorWidth);
    a.dy = static_cast<const T*>(s->dy);
    a.beside = static_cast<const T*>(s->beside);
    a.sum = static_cast<const T*>(s->sum);
    a.mean = s->mean;
    a.rstd = s->rstd;
    a.scale = static_cast<const T*>(s->scale);
    a.dsum = static_cast<T*>(dsum);
    a.dx = static_cast<T*>(dx);
    a.y = static_cast<T*>(y);
    a.partials = static_cast<float*>(scratch);
    a.rootSquare = s->rootSquare != 0;
    a.offset = s->offset;
    a.inner = {static_cast<const T*>(s->innerSum), static_cast<const T*>(s->innerScale), s->innerMean,
               s->innerRstd};
    return normBackward<T, Summed::kNormedBranch, Gradients::kScales>(
        *rows, a, {{scaleGradient, innerScaleGradient}, 2}, static_cast<cudaStream_t>(rows->stream));
  });
}
