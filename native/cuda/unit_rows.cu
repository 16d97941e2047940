// Rows as the kernels on scores take them, from float32 rows and the factors that bring them to length 1; and
// the gradient's way back through that.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/common.cuh"

namespace gradcache::cuda {

namespace {

constexpr int kPiece = 8;  // columns of a thread: 16 bytes of half precision

struct Source {
  const float *rows, *factors;  // factors: of each row, or null
  int64_t count, stride;
  int width, pieces;
  bool aligned;  // rows can be read by four
  float scale;
};

__device__ __forceinline__ void load(const Source& source, int64_t row, int piece, float (&x)[kPiece]) {
  const float* const from = source.rows + row * source.stride + piece * kPiece;
  const int present = source.width - piece * kPiece;
  if (source.aligned && present >= kPiece) {
    *reinterpret_cast<float4*>(x) = __ldg(reinterpret_cast<const float4*>(from));
    *reinterpret_cast<float4*>(x + 4) = __ldg(reinterpret_cast<const float4*>(from) + 1);
  } else {
#pragma unroll
    for (int i = 0; i < kPiece; ++i) x[i] = i < present ? __ldg(from + i) : 0.0f;
  }
  const float factor = source.factors ? __ldg(source.factors + row) : 1.0f;
#pragma unroll
  for (int i = 0; i < kPiece; ++i) x[i] = x[i] * factor * source.scale;
}

template <class Half, class Round>
__device__ __forceinline__ void store(Half* target, const float (&x)[kPiece], Round round) {
  __align__(16) Half numbers[kPiece];
#pragma unroll
  for (int i = 0; i < kPiece; ++i) numbers[i] = round(x[i]);
  *reinterpret_cast<uint4*>(target) = *reinterpret_cast<const uint4*>(numbers);
}

template <class Half>
__global__ void roundRows(const Source source, Half* target) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (item >= source.count * source.pieces) return;
  const int64_t row = item / source.pieces;
  float x[kPiece];
  load(source, row, static_cast<int>(item - row * source.pieces), x);
  store(target + item * kPiece, x, [](float each) { return static_cast<Half>(each); });
}

// low: which of the first two parts gets what the whole numbers lack.
__global__ void splitRows(const Source source, __half* target, int low) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (item >= source.count * source.pieces) return;
  const int64_t row = item / source.pieces;
  const int piece = static_cast<int>(item - row * source.pieces), part = source.pieces * kPiece;
  float x[kPiece];
  load(source, row, piece, x);
  __half* const first = target + row * 3 * part + piece * kPiece;
  const auto whole = [](float each) { return __float2half_rn(rintf(each)); };
  store(first + (1 - low) * part, x, whole);
  store(first + 2 * part, x, whole);
  store(first + low * part, x, [&](float each) { return __float2half_rn(each - __half2float(whole(each))); });
}

// A warp for each row.
__global__ void unitGradient(const float* rows, int64_t stride, const float* factors, float* gradient,
                             int64_t gradientStride, int64_t count, int width, float weight) {
  const int64_t row = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
  if (row >= count) return;
  const float* const x = rows + row * stride;
  float* const g = gradient + row * gradientStride;
  const float factor = __ldg(factors + row);
  float dot = 0;
  for (int i = threadIdx.x & 31; i < width; i += 32) dot = fmaf(x[i] * factor, g[i], dot);
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) dot += __shfl_xor_sync(0xffffffffu, dot, distance);
  for (int i = threadIdx.x & 31; i < width; i += 32) g[i] = fmaf(-dot, x[i] * factor, g[i]) * factor * weight;
}

constexpr int kThreads = 256;

}  // namespace

}  // namespace gradcache::cuda

int gradcache_scores_operand(GradcacheType type, const float* rows, int64_t rowCount, int64_t width,
                             int64_t stride, const float* factors, float scale, int32_t parts, void* operand,
                             void* stream) {
  using namespace gradcache::cuda;
  if (cudaError_t code = checkAligned(operand)) return code;
  const bool valid = (type == GRADCACHE_FLOAT16 || (type == GRADCACHE_BFLOAT16 && parts == 0)) &&
                     rowCount >= 0 && width > 0 && width <= kMostTokens && stride >= width && parts >= 0 &&
                     parts <= 2;
  if (!valid) return cudaErrorInvalidValue;
  if (rowCount == 0) return cudaSuccess;
  const bool aligned = stride % 4 == 0 && reinterpret_cast<uintptr_t>(rows) % 16 == 0;
  const int pieces = static_cast<int>(ceilDivide(width, kPiece));
  const Source source{rows, factors, rowCount, stride, static_cast<int>(width), pieces, aligned, scale};
  const auto blocks = static_cast<unsigned>(ceilDivide(rowCount * pieces, kThreads));
  const auto queue = static_cast<cudaStream_t>(stream);
  if (parts > 0) {
    splitRows<<<blocks, kThreads, 0, queue>>>(source, static_cast<__half*>(operand), parts - 1);
  } else if (type == GRADCACHE_FLOAT16) {
    roundRows<<<blocks, kThreads, 0, queue>>>(source, static_cast<__half*>(operand));
  } else {
    roundRows<<<blocks, kThreads, 0, queue>>>(source, static_cast<__nv_bfloat16*>(operand));
  }
  return cudaGetLastError();
}

int gradcache_unit_gradient(const float* rows, int64_t rowCount, int64_t width, int64_t stride,
                            const float* factors, float weight, float* gradient, int64_t gradientStride,
                            void* stream) {
  using namespace gradcache::cuda;
  if (rowCount < 0 || width <= 0 || width > kMostTokens || stride < width || gradientStride < width)
    return cudaErrorInvalidValue;
  if (rowCount == 0) return cudaSuccess;
  unitGradient<<<static_cast<unsigned>(ceilDivide(rowCount, kThreads / 32)), kThreads, 0,
                 static_cast<cudaStream_t>(stream)>>>(rows, stride, factors, gradient, gradientStride,
                                                      rowCount, static_cast<int>(width), weight);
  return cudaGetLastError();
}
