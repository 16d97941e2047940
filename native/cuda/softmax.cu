// The softmax of attention in float32, which is composed of matrix products and this: over the keys that a
// query sees, with the dropout behind it, and both in backward. A warp for each row, which stays in
// registers.
#include "cuda/common.cuh"

namespace gradcache::cuda {

namespace {

constexpr int kWarp = 32, kWarps = 8, kBlocksPerMultiprocessor = 8;
constexpr int64_t kWidest = 1024;

__device__ __forceinline__ float warpMax(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1)
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
  return value;
}

// A row of V pairs of neighbouring columns a lane, which share their random bits.
template <int V>
struct Row {
  float p[2 * V];

  static __device__ __forceinline__ int64_t column(int i) {
    return 2 * (i / 2 * kWarp + static_cast<int>(threadIdx.x)) + i % 2;
  }

  // Softmax of the row's scores; seen is null where all keys are seen.
  __device__ __forceinline__ void load(const float* scores, const unsigned char* seen, int64_t width) {
    float most = -INFINITY;
#pragma unroll
    for (int i = 0; i < 2 * V; ++i) {
      const int64_t c = column(i);
      p[i] = c < width && (seen == nullptr || seen[c]) ? scores[c] : -INFINITY;
      most = fmaxf(most, p[i]);
    }
    most = warpMax(most);
    float sum = 0;
#pragma unroll
    for (int i = 0; i < 2 * V; ++i) {
      p[i] = expf(p[i] - most);
      sum += p[i];
    }
    const float inverse = 1.0f / warpSum(sum);
#pragma unroll
    for (int i = 0; i < 2 * V; ++i) p[i] *= inverse;
  }

  // What a dropout multiplies the row with.
  static __device__ __forceinline__ void factors(const DropoutKey& key, uint32_t row, float* factor) {
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const uint32_t bits = dropoutPair(row, static_cast<uint32_t>(column(2 * v) / 2));
      factor[2 * v] = (bits & 0xffffu) >= key.threshold ? key.scale : 0.0f;
      factor[2 * v + 1] = (bits >> 16) >= key.threshold ? key.scale : 0.0f;
    }
  }

  static __device__ __forceinline__ void store(const float* values, float* to, int64_t width) {
#pragma unroll
    for (int i = 0; i < 2 * V; ++i) {
      if (column(i) < width) to[column(i)] = values[i];
    }
  }
};

template <class Visit>
__device__ __forceinline__ void overRows(const GradcachePairs& a, const DropoutKey& key, Visit visit) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kWarps;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.y; row < a.rows; row += step) {
    const unsigned char* seen = a.seen == nullptr ? nullptr : a.seen + row / a.rowsOfSeen * a.width;
    const auto number = a.numbers == nullptr ? uint32_t{0} : static_cast<uint32_t>(a.numbers[row]);
    visit(row * a.width, seen, dropoutRow(key, number));
  }
}

// p may be scores.
template <int V>
__global__ __launch_bounds__(kWarp* kWarps) void softmaxForwardKernel(const GradcachePairs a,
                                                                      const float* scores, DropoutKey key,
                                                                      float* p) {
  overRows(a, key, [&](int64_t start, const unsigned char* seen, uint32_t bits) {
    Row<V> row;
    row.load(scores + start, seen, a.width);
    float factor[2 * V];
    Row<V>::factors(key, bits, factor);
#pragma unroll
    for (int i = 0; i < 2 * V; ++i) row.p[i] *= factor[i];
    Row<V>::store(row.p, p + start, a.width);
  });
}

// p may be scores, and dscores dp.
template <int V>
__global__ __launch_bounds__(kWarp* kWarps) void softmaxBackwardKernel(const GradcachePairs a,
                                                                       const float* scores, const float* dp,
                                                                       DropoutKey key, float* p,
                                                                       float* dscores) {
  overRows(a, key, [&](int64_t start, const unsigned char* seen, uint32_t bits) {
    Row<V> row;
    row.load(scores + start, seen, a.width);
    float factor[2 * V], d[2 * V];
    Row<V>::factors(key, bits, factor);
    float dot = 0;
#pragma unroll
    for (int i = 0; i < 2 * V; ++i) {
      const int64_t c = Row<V>::column(i);
      d[i] = c < a.width ? dp[start + c] * factor[i] : 0.0f;
      dot += d[i] * row.p[i];
    }
    dot = warpSum(dot);
#pragma unroll
    for (int i = 0; i < 2 * V; ++i) {
      d[i] = row.p[i] * (d[i] - dot);
      row.p[i] *= factor[i];
    }
    Row<V>::store(d, dscores + start, a.width);
    Row<V>::store(row.p, p + start, a.width);
  });
}

cudaError_t checkPairs(const GradcachePairs* a) {
  const bool valid =
      a && a->rows >= 0 && a->width > 0 && a->width <= kWidest && (a->seen == nullptr || a->rowsOfSeen > 0);
  return valid ? cudaSuccess : cudaErrorInvalidValue;
}

// Calls launch(V, blocks) with how many pairs of columns a lane has.
template <class Launch>
cudaError_t withPairs(const GradcachePairs& a, Launch&& launch) {
  const int most = multiprocessors() * kBlocksPerMultiprocessor;
  if (most == 0) return cudaErrorNoDevice;
  const auto blocks = static_cast<int>(std::min<int64_t>(ceilDivide(a.rows, kWarps), most));
  const int64_t pairs = ceilDivide(a.width, 2 * kWarp);
  if (pairs <= 1) {
    launch(std::integral_constant<int, 1>{}, blocks);
  } else if (pairs <= 2) {
    launch(std::integral_constant<int, 2>{}, blocks);
  } else if (pairs <= 4) {
    launch(std::integral_constant<int, 4>{}, blocks);
  } else if (pairs <= 8) {
    launch(std::integral_constant<int, 8>{}, blocks);
  } else {
    launch(std::integral_constant<int, 16>{}, blocks);
  }
  return cudaGetLastError();
}

}  // namespace

}  // namespace gradcache::cuda

using namespace gradcache::cuda;

int gradcache_softmax_forward(const GradcachePairs* pairs, const float* scores, gradcache::DropoutKey key,
                              float* p) {
  if (cudaError_t error = checkPairs(pairs)) return error;
  if (pairs->rows == 0) return cudaSuccess;
  return withPairs(*pairs, [&](auto lane, int blocks) {
    softmaxForwardKernel<decltype(lane)::value>
        <<<blocks, dim3(kWarp, kWarps), 0, static_cast<cudaStream_t>(pairs->stream)>>>(*pairs, scores, key,
                                                                                       p);
  });
}

int gradcache_softmax_backward(const GradcachePairs* pairs, const float* scores, const float* dp,
                               gradcache::DropoutKey key, float* p, float* dscores) {
  if (cudaError_t error = checkPairs(pairs)) return error;
  if (pairs->rows == 0) return cudaSuccess;
  return withPairs(*pairs, [&](auto lane, int blocks) {
    softmaxBackwardKernel<decltype(lane)::value>
        <<<blocks, dim3(kWarp, kWarps), 0, static_cast<cudaStream_t>(pairs->stream)>>>(*pairs, scores, dp,
                                                                                       key, p, dscores);
  });
}
