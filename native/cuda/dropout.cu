// Dropout by itself, of rows of any width: for what attention in float32 is composed of.
#include "cuda/common.cuh"

namespace gradcache::cuda {

namespace {

constexpr int kWarp = 32, kWarps = 8, kBlocksPerMultiprocessor = 8;

// A warp for each row; a lane takes two neighbouring columns, which share their random bits.
template <class T>
__global__ __launch_bounds__(kWarp* kWarps) void dropoutKernel(const T* x, const int64_t* numbers, T* y,
                                                               int64_t rows, int64_t width, DropoutKey key) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kWarps;
  const auto dropped = [&](T value, uint32_t bits) {
    return static_cast<T>(static_cast<float>(value) * (bits >= key.threshold ? key.scale : 0.0f));
  };
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.y; row < rows; row += step) {
    const uint32_t bitsOfRow = dropoutRow(key, static_cast<uint32_t>(numbers[row]));
    for (int64_t column = 2 * threadIdx.x; column < width; column += 2 * kWarp) {
      const uint32_t bits = dropoutPair(bitsOfRow, static_cast<uint32_t>(column / 2));
      const int64_t place = row * width + column;
      y[place] = dropped(x[place], bits & 0xffffu);
      if (column + 1 < width) y[place + 1] = dropped(x[place + 1], bits >> 16);
    }
  }
}

}  // namespace

}  // namespace gradcache::cuda

using namespace gradcache::cuda;

int gradcache_dropout(const GradcacheRows* rows, const void* x, const int64_t* numbers,
                      gradcache::DropoutKey key, void* y) {
  const bool known = rows && (rows->type == GRADCACHE_FLOAT32 || rows->type == GRADCACHE_BFLOAT16);
  if (!known || rows->tokens < 0 || rows->width < 0) return cudaErrorInvalidValue;
  if (rows->tokens == 0 || rows->width == 0) return cudaSuccess;
  const int most = multiprocessors() * kBlocksPerMultiprocessor;
  if (most == 0) return cudaErrorNoDevice;
  const auto blocks = static_cast<int>(std::min<int64_t>(ceilDivide(rows->tokens, kWarps), most));
  return withType(rows->type, [&](auto type) {
    using T = decltype(type);
    dropoutKernel<T><<<blocks, dim3(kWarp, kWarps), 0, static_cast<cudaStream_t>(rows->stream)>>>(
        static_cast<const T*>(x), numbers, static_cast<T*>(y), rows->tokens, rows->width, key);
    return cudaGetLastError();
  });
}
