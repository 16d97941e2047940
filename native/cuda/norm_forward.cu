#include "cuda/norm_forward.cuh"

using namespace gradcache;
using namespace gradcache::cuda;

int gradcache_norm_forward(const GradcacheRows* rows, const void* x, const void* bias, const void* residual,
                           const void* scale, const void* shift, int rootSquare, float offset, float epsilon,
                           DropoutKey key, void* y, int64_t yStride, void* sum, float* mean, float* rstd) {
  if (cudaError_t error = checkRows(rows, kWidestNorm)) return error;
  if (cudaError_t error = checkAligned(x, bias, residual, scale, shift, y, sum)) return error;
  if (cudaError_t error = checkStride(yStride, rows->width)) return error;
  if (rows->tokens == 0) return cudaSuccess;
  return withType(rows->type, [&](auto type) {
    using T = decltype(type);
    NormForward<T> a{};
    a.x = static_cast<const T*>(x);
    a.bias = static_cast<const T*>(bias);
    a.residual = static_cast<const T*>(residual);
    a.scale = static_cast<const T*>(scale);
    a.shift = static_cast<const T*>(shift);
    a.y = static_cast<T*>(y);
    a.yVectors = static_cast<int>(yStride / kVectorWidth);
    a.sum = static_cast<T*>(sum);
    a.mean = mean;
    a.rstd = rstd;
    a.rootSquare = rootSquare != 0;
    a.offset = offset;
    a.epsilon = epsilon;
    a.key = key;
    return normForward<T, Summed::kBranch>(*rows, a, static_cast<cudaStream_t>(rows->stream));
  });
}
