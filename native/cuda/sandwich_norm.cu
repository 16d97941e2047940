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
