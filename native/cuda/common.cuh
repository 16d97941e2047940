// What the row kernels share: vectors of eight elements, sums over a warp, dropout, and how launches are
// sized and checked.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "cuda/kernels.h"

namespace gradcache::cuda {

using bfloat16 = __nv_bfloat16;

// ---- eight neighbouring elements of a row, as they lie in memory

constexpr int kVectorWidth = 8;

template <class T>
struct Vector;
template <>
struct Vector<bfloat16> {
  static constexpr int kPieces = 1;  // of 16 bytes
  uint4 piece[kPieces];
};
template <>
struct Vector<float> {
  static constexpr int kPieces = 2;
  uint4 piece[kPieces];
};

template <class T>
__device__ __forceinline__ Vector<T> zeroVector() {
  Vector<T> v;
#pragma unroll
  for (int p = 0; p < Vector<T>::kPieces; ++p) v.piece[p] = make_uint4(0, 0, 0, 0);
  return v;
}

// `index` counts vectors. Streaming: read once, so that it leaves the caches to what is read again.
template <class T>
__device__ __forceinline__ Vector<T> loadStreaming(const T* data, int64_t index) {
  const uint4* source = reinterpret_cast<const uint4*>(data) + index * Vector<T>::kPieces;
  Vector<T> v;
#pragma unroll
  for (int p = 0; p < Vector<T>::kPieces; ++p) v.piece[p] = __ldcs(source + p);
  return v;
}

// A load from memory that nothing writes while the kernel runs.
template <class T>
__device__ __forceinline__ Vector<T> loadConstant(const T* data, int64_t index) {
  const uint4* source = reinterpret_cast<const uint4*>(data) + index * Vector<T>::kPieces;
  Vector<T> v;
#pragma unroll
  for (int p = 0; p < Vector<T>::kPieces; ++p) v.piece[p] = __ldg(source + p);
  return v;
}

template <class T>
__device__ __forceinline__ void store(T* data, int64_t index, const Vector<T>& v) {
  uint4* target = reinterpret_cast<uint4*>(data) + index * Vector<T>::kPieces;
#pragma unroll
  for (int p = 0; p < Vector<T>::kPieces; ++p) target[p] = v.piece[p];
}

__device__ __forceinline__ void unpackPair(uint32_t bits, float* values) {
  values[0] = __uint_as_float(bits << 16);
  values[1] = __uint_as_float(bits & 0xffff0000u);
}

__device__ __forceinline__ uint32_t packPair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

__device__ __forceinline__ void unpack(const Vector<bfloat16>& v, float* values) {
  unpackPair(v.piece[0].x, values);
  unpackPair(v.piece[0].y, values + 2);
  unpackPair(v.piece[0].z, values + 4);
  unpackPair(v.piece[0].w, values + 6);
}

__device__ __forceinline__ void unpack(const Vector<float>& v, float* values) {
#pragma unroll
  for (int p = 0; p < 2; ++p) {
    values[4 * p] = __uint_as_float(v.piece[p].x);
    values[4 * p + 1] = __uint_as_float(v.piece[p].y);
    values[4 * p + 2] = __uint_as_float(v.piece[p].z);
    values[4 * p + 3] = __uint_as_float(v.piece[p].w);
  }
}

template <class T>
__device__ __forceinline__ Vector<T> pack(const float* values) {
  Vector<T> v;
  if constexpr (Vector<T>::kPieces == 1) {
    v.piece[0] = make_uint4(packPair(values[0], values[1]), packPair(values[2], values[3]),
                            packPair(values[4], values[5]), packPair(values[6], values[7]));
  } else {
#pragma unroll
    for (int p = 0; p < 2; ++p) {
      v.piece[p] = make_uint4(__float_as_uint(values[4 * p]), __float_as_uint(values[4 * p + 1]),
                              __float_as_uint(values[4 * p + 2]), __float_as_uint(values[4 * p + 3]));
    }
  }
  return v;
}

// ---- arithmetic

__device__ __forceinline__ float warpSum(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

// Whether each of the eight elements of vector `vector` is kept; `row` comes from dropoutRow.
__device__ __forceinline__ void dropoutKeepsVector(uint32_t row, uint32_t vector, uint32_t threshold,
                                                   bool* keeps) {
#pragma unroll
  for (int j = 0; j < kVectorWidth / 2; ++j) {
    const uint32_t bits = dropoutPair(row, vector * (kVectorWidth / 2) + j);
    keeps[2 * j] = (bits & 0xffffu) >= threshold;
    keeps[2 * j + 1] = (bits >> 16) >= threshold;
  }
}

// Layer norm's two halves. Forward and backward must find the same bits, so nothing is left for the compiler
// to contract.
__device__ __forceinline__ float normalized(float sum, float mean, float rstd) {
  return __fmul_rn(__fsub_rn(sum, mean), rstd);
}
__device__ __forceinline__ float affine(float normal, float scale, float shift) {
  return __fmaf_rn(normal, scale, shift);
}

// ---- launches

// The multiprocessors of the calling thread's current device; 0 where there is none.
int multiprocessors();

// Lets `kernel` use `bytes` of dynamic shared memory on the current device.
cudaError_t allowSharedMemory(const void* kernel, size_t bytes);

// Tokens are numbered in 32 bits inside the kernels, with room for strides beyond the last.
constexpr int64_t kMostTokens = int64_t{1} << 30;
constexpr int64_t kWidestNorm = 2048;

inline cudaError_t checkRows(const GradcacheRows* rows, int64_t widest = kMostTokens) {
  const bool known = rows && (rows->type == GRADCACHE_FLOAT32 || rows->type == GRADCACHE_BFLOAT16);
  const bool valid = known && rows->tokens >= 0 && rows->tokens <= kMostTokens && rows->width > 0 &&
                     rows->width % kVectorWidth == 0 && rows->width <= widest;
  return valid ? cudaSuccess : cudaErrorInvalidValue;
}

// From one row to the next.
inline cudaError_t checkStride(int64_t stride, int64_t width) {
  return stride >= width && stride % kVectorWidth == 0 ? cudaSuccess : cudaErrorInvalidValue;
}

// Vectors are loaded whole, so their memory must begin at a multiple of 16 bytes. Null passes: what may be
// null is up to the caller.
template <class... Pointers>
cudaError_t checkAligned(Pointers... pointers) {
  const bool aligned = (((reinterpret_cast<uintptr_t>(pointers) & 15) == 0) && ...);
  return aligned ? cudaSuccess : cudaErrorMisalignedAddress;
}

// Calls launch(T{}) with the type that `type` names.
template <class Launch>
cudaError_t withType(GradcacheType type, Launch&& launch) {
  return type == GRADCACHE_BFLOAT16 ? launch(bfloat16{}) : launch(float{});
}

constexpr int64_t ceilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// ---- sums over tokens

// Every block of a kernel leaves its sums in `partials` [blocks, targets, width]. This adds them up in the
// order of the blocks, and adds the result to the targets that are not null. A sum depends on the number of
// multiprocessors, but on nothing that changes from run to run.
struct SumTargets {
  static constexpr int kMost = 3;
  float* target[kMost];
  int count;
};
cudaError_t addPartialSums(const float* partials, int blocks, int width, const SumTargets& targets,
                           cudaStream_t stream);

}  // namespace gradcache::cuda
