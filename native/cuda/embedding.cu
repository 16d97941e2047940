#include "cuda/norm_backward.cuh"
#include "cuda/norm_forward.cuh"

using namespace gradcache;
using namespace gradcache::cuda;

int gradcache_embedding_forward(const GradcacheRows* rows, const void* words, const int64_t* ids,
                                const void* positions, const int64_t* places, const void* type,
                                const void* scale, const void* shift, float epsilon, DropoutKey key, void* y,
                                void* sum, float* mean, float* rstd) {
  if (cudaError_t error = checkRows(rows, kWidestNorm)) return error;
  if (cudaError_t error = checkAligned(words, positions, type, scale, shift, y, sum)) return error;
  if (rows->tokens == 0) return cudaSuccess;
  return withType(rows->type, [&](auto element) {
    using T = decltype(element);
    NormForward<T> a{};
    a.x = static_cast<const T*>(words);
    a.bias = static_cast<const T*>(type);
    a.residual = static_cast<const T*>(positions);
    a.ids = ids;
    a.places = places;
    a.scale = static_cast<const T*>(scale);
    a.shift = static_cast<const T*>(shift);
    a.y = static_cast<T*>(y);
    a.yVectors = static_cast<int>(rows->width / kVectorWidth);
    a.sum = static_cast<T*>(sum);
    a.mean = mean;
    a.rstd = rstd;
    a.epsilon = epsilon;
    a.key = key;
    return normForward<T, Summed::kEmbedding>(*rows, a, static_cast<cudaStream_t>(rows->stream));
  });
}

int gradcache_embedding_backward(const GradcacheRows* rows, const void* dy, const void* sum,
                                 const float* mean, const float* rstd, const void* scale, const void* shift,
                                 DropoutKey key, void* dsum, float* scaleGradient, float* shiftGradient,
                                 float* typeGradient, void* scratch) {
  (void)shift;  // only an output that is computed again needs it
  if (cudaError_t error = checkRows(rows, kWidestNorm)) return error;
  if (cudaError_t error = checkAligned(dy, sum, scale, dsum, scratch)) return error;
  if (rows->tokens == 0) return cudaSuccess;
  return withType(rows->type, [&](auto element) {
    using T = decltype(element);
    NormBackward<T> a{};
    a.dy = static_cast<const T*>(dy);
    a.sum = static_cast<const T*>(sum);
    a.mean = mean;
    a.rstd = rstd;
    a.scale = static_cast<const T*>(scale);
    a.dsum = static_cast<T*>(dsum);
    a.dsumVectors = static_cast<int>(rows->width / kVectorWidth);
    a.partials = static_cast<float*>(scratch);
    a.key = key;
    return normBackward<T, Summed::kEmbedding, Gradients::kParameters>(
        *rows, a, {{scaleGradient, shiftGradient, typeGradient}, 3}, static_cast<cudaStream_t>(rows->stream));
  });
}
