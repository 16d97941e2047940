// Dropout as factors, for what multiplies with them outside of these kernels: attention in float32.
#include "kernels/cuda/common.cuh"

namespace gradcache::cuda {

namespace {

constexpr int kWarp = 32, kWarps = 8, kBlocksPerMultiprocessor = 8;

__device__ __forceinline__ void set(float* target, float value) { *target = value; }
__device__ __forceinline__ void set(bfloat16* target, float value) { *target = __float2bfloat16_rn(value); }

// A warp for each row; a lane computes two neighbouring columns, which share their random bits.
template <class T>
__global__ __launch_bounds__(kWarp* kWarps) void dropoutFactorsKernel(const int64_t* numbers, T* factors,
                                                                      int64_t rows, int64_t width,
                                                                      DropoutKey key) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kWarps;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.y; row < rows; row += step) {
    const uint32_t bitsOfRow = dropoutRow(key, static_cast<uint32_t>(numbers[row]));
    T* const target = factors + row * width;
    for (int64_t column = 2 * threadIdx.x; column < width; column += 2 * kWarp) {
      const uint32_t bits = dropoutPair(bitsOfRow, static_cast<uint32_t>(column / 2));
      set(target + column, (bits & 0xffffu) >= key.threshold ? key.scale : 0.0f);
      if (column + 1 < width) set(target + column + 1, (bits >> 16) >= key.threshold ? key.scale : 0.0f);
    }
  }
}

}  // namespace

}  // namespace gradcache::cuda

using namespace gradcache::cuda;

int gradcache_dropout_factors(const GradcacheRows* rows, const int64_t* numbers, gradcache::DropoutKey key,
                              void* factors) {
  const bool known = rows && (rows->type == GRADCACHE_FLOAT32 || rows->type == GRADCACHE_BFLOAT16);
  if (!known || rows->tokens < 0 || rows->width < 0) return cudaErrorInvalidValue;
  if (rows->tokens == 0 || rows->width == 0) return cudaSuccess;
  const int most = multiprocessors() * kBlocksPerMultiprocessor;
  if (most == 0) return cudaErrorNoDevice;
  const auto blocks = static_cast<int>(std::min<int64_t>(ceilDivide(rows->tokens, kWarps), most));
  return withType(rows->type, [&](auto type) {
    using T = decltype(type);
    dropoutFactorsKernel<T><<<blocks, dim3(kWarp, kWarps), 0, static_cast<cudaStream_t>(rows->stream)>>>(
        numbers, static_cast<T*>(factors), rows->tokens, rows->width, key);
    return cudaGetLastError();
  });
}
