// One row for each packed sequence: the mean of its tokens, one of them, or the largest value of each column,
// normalised on its way out. A block for a sequence, so that the whole row is there when its norm is wanted.
#include <cmath>
#include <type_traits>

#include "cuda/common.cuh"

namespace gradcache::cuda {

namespace {

constexpr int kPoolThreads = 512;
constexpr int64_t kWidestPooled = int64_t{kPoolThreads} * kVectorWidth;
constexpr float kLeastNorm = 1e-12f;  // as kernels::kLeastNorm
// Tokens that a thread loads before it adds up the first, as registers allow (a maximum's token takes some
// too), and that it writes.
template <class T, bool Max>
constexpr int kTokensAhead = 8 / Vector<T>::kPieces / (Max ? 2 : 1);
constexpr int kTokensWritten = 4;
// Tokens of one sequence that a block writes at a time: for each such piece its gradient is worked out again.
constexpr int kPiece = 64;

// A block's threads: `rows` rows, one thread a vector, which take turns at the tokens; and those that fill up
// the last warp. Few rows where sequences are short, so that every thread has work and more blocks find room:
// a chunk's sequences are about as long as one another.
struct PoolLayout {
  int vectors, rows;

  static PoolLayout of(const GradcacheRows& rows, int64_t sequences, int tokensPerThread) {
    const int64_t vectors = rows.width / kVectorWidth, length = ceilDivide(rows.tokens, sequences);
    return {static_cast<int>(vectors), static_cast<int>(std::clamp<int64_t>(
                                           ceilDivide(length, tokensPerThread), 1, kPoolThreads / vectors))};
  }
  unsigned threads() const { return static_cast<unsigned>(ceilDivide(vectors * rows, 32) * 32); }
};

// What a row is made of. One that is no maximum is the mean of a range; cls and last take that of one token.
struct Tokens {
  int begin, end;

  __device__ __forceinline__ static Tokens of(GradcachePooling pooling, int begin, int end) {
    return {pooling == GRADCACHE_LAST ? end - 1 : begin, pooling == GRADCACHE_CLS ? begin + 1 : end};
  }
};

// The sum over all threads of the block, for each of them. Once a kernel.
__device__ __forceinline__ float blockSum(float value) {
  __shared__ float sums[kPoolThreads / 32];
  value = warpSum(value);
  if ((threadIdx.x & 31) == 0) sums[threadIdx.x >> 5] = value;
  __syncthreads();
  float total = 0;
  for (int warp = 0; warp < blockDim.x >> 5; ++warp) total += sums[warp];
  return total;
}

template <class T>
struct PoolForward {
  const T* x;
  const int32_t* offsets;
  float *y, *norms;  // norms is null where nothing is normalised
  int32_t* argmax;   // of GRADCACHE_MAX
  GradcachePooling pooling;
  PoolLayout layout;
};

// NaN is neither at most `largest` nor, once it is the largest, equal to itself.
__device__ __forceinline__ bool larger(float value, float largest) {
  return !(value <= largest) && largest == largest;
}

template <class T, bool Max>
__global__ __launch_bounds__(kPoolThreads, 2) void poolForwardKernel(const PoolForward<T> a) {
  constexpr int kAhead = kTokensAhead<T, Max>;
  extern __shared__ __align__(16) unsigned char shared[];
  const int vectors = a.layout.vectors, rows = a.layout.rows, width = vectors * kVectorWidth;
  float* const values = reinterpret_cast<float*>(shared);                     // [rows, width]
  int32_t* const places = reinterpret_cast<int32_t*>(values) + rows * width;  // [rows, width], of maxima
  const int64_t sequence = blockIdx.x;
  const Tokens tokens = Tokens::of(a.pooling, a.offsets[sequence], a.offsets[sequence + 1]);

  const int row = static_cast<int>(threadIdx.x) / vectors, column = static_cast<int>(threadIdx.x) % vectors;
  if (row < rows) {
    float pooled[kVectorWidth];
    int32_t place[kVectorWidth];
#pragma unroll
    for (int i = 0; i < kVectorWidth; ++i) {
      pooled[i] = Max ? -INFINITY : 0.0f;
      place[i] = tokens.begin + row;
    }
    for (int first = tokens.begin + row; first < tokens.end; first += rows * kAhead) {
      Vector<T> loaded[kAhead];
#pragma unroll
      for (int u = 0; u < kAhead; ++u) {
        const int token = first + u * rows;
        loaded[u] = zeroVector<T>();
        if (token < tokens.end)
          loaded[u] = loadStreaming(a.x, static_cast<int64_t>(token) * vectors + column);
      }
#pragma unroll
      for (int u = 0; u < kAhead; ++u) {
        const int token = first + u * rows;
        float x[kVectorWidth];
        unpack(loaded[u], x);
#pragma unroll
        for (int i = 0; i < kVectorWidth; ++i) {
          if constexpr (Max) {
            if (token < tokens.end && larger(x[i], pooled[i])) {
              pooled[i] = x[i];
              place[i] = token;
            }
          } else {
            pooled[i] += x[i];
          }
        }
      }
    }
    store(values, threadIdx.x, pack<float>(pooled));
    if constexpr (Max) {
#pragma unroll
      for (int i = 0; i < kVectorWidth; ++i) places[threadIdx.x * kVectorWidth + i] = place[i];
    }
  }
  __syncthreads();

  const int count = tokens.end - tokens.begin;
  const int met = min(rows, count);  // rows that had a token
  float squares = 0;
  for (int i = threadIdx.x; i < width; i += blockDim.x) {
    float value = values[i];
    if constexpr (Max) {
      int32_t place = places[i];
      for (int r = 1; r < met; ++r) {
        const float other = values[r * width + i];
        const int32_t otherPlace = places[r * width + i];
        const bool asLarge = other == value || (other != other && value != value);
        if (larger(other, value) || (asLarge && otherPlace < place)) {
          value = other;
          place = otherPlace;
        }
      }
      a.argmax[sequence * width + i] = place;
    } else {
      for (int r = 1; r < met; ++r) value += values[r * width + i];
      value /= static_cast<float>(count);
    }
    values[i] = value;  // read again by this thread alone
    squares += value * value;
  }

  float divisor = 1;
  if (a.norms) {
    const float norm = sqrtf(blockSum(squares));
    if (threadIdx.x == 0) a.norms[sequence] = norm;
    divisor = norm < kLeastNorm ? kLeastNorm : norm;
  }
  for (int i = threadIdx.x; i < width; i += blockDim.x) a.y[sequence * width + i] = values[i] / divisor;
}

template <class T>
struct PoolBackward {
  const float *dy, *y, *norms;  // y and norms are null where nothing was normalised
  const int32_t *argmax, *offsets;
  T* dx;
  GradcachePooling pooling;
  PoolLayout layout;
};

// A block for a sequence (blockIdx.x) and every gridDim.y-th piece of its tokens from blockIdx.y on.
template <class T, bool Max>
__global__ __launch_bounds__(kPoolThreads, 2) void poolBackwardKernel(const PoolBackward<T> a) {
  extern __shared__ __align__(16) unsigned char shared[];
  // What each token of the range, or each maximum, gets.
  float* const gradient = reinterpret_cast<float*>(shared);
  const int vectors = a.layout.vectors, rows = a.layout.rows, width = vectors * kVectorWidth;
  const int64_t sequence = blockIdx.x;
  const int begin = a.offsets[sequence], end = a.offsets[sequence + 1];
  const int first = begin + static_cast<int>(blockIdx.y) * kPiece;
  if (first >= end) return;

  const float *const dy = a.dy + sequence * width, *const y = a.y + sequence * width;
  const Tokens tokens = Tokens::of(a.pooling, begin, end);
  const float count = Max ? 1.0f : static_cast<float>(tokens.end - tokens.begin);
  float along = 0, norm = 1;
  if (a.norms) {
    for (int i = threadIdx.x; i < width; i += blockDim.x) along += dy[i] * y[i];
    along = blockSum(along);
    norm = a.norms[sequence];
    if (norm < kLeastNorm) {  // then it is a constant to what comes after it
      norm = kLeastNorm;
      along = 0;
    }
  }
  for (int i = threadIdx.x; i < width; i += blockDim.x) {
    gradient[i] = (a.norms ? (dy[i] - along * y[i]) / norm : dy[i]) / count;
  }
  __syncthreads();

  const int row = static_cast<int>(threadIdx.x) / vectors, column = static_cast<int>(threadIdx.x) % vectors;
  if (row >= rows) return;
  float values[kVectorWidth];
  int32_t places[kVectorWidth];
#pragma unroll
  for (int i = 0; i < kVectorWidth; ++i) {
    values[i] = gradient[column * kVectorWidth + i];
    places[i] = Max ? a.argmax[sequence * width + column * kVectorWidth + i] : 0;
  }
  const Vector<T> share = pack<T>(values);
  for (int piece = first; piece < end; piece += static_cast<int>(gridDim.y) * kPiece) {
    const int last = min(piece + kPiece, end);
    for (int token = piece + row; token < last; token += rows) {
      Vector<T> dx = token >= tokens.begin && token < tokens.end ? share : zeroVector<T>();
      if constexpr (Max) {
        float own[kVectorWidth];
#pragma unroll
        for (int i = 0; i < kVectorWidth; ++i) own[i] = places[i] == token ? values[i] : 0.0f;
        dx = pack<T>(own);
      }
      store(a.dx, static_cast<int64_t>(token) * vectors + column, dx);
    }
  }
}

// Sequences have at least one token each.
cudaError_t checkPool(const GradcacheRows* rows, int32_t sequences, GradcachePooling pooling) {
  if (cudaError_t error = checkRows(rows, kWidestPooled)) return error;
  const bool known = pooling == GRADCACHE_MEAN || pooling == GRADCACHE_CLS || pooling == GRADCACHE_MAX ||
                     pooling == GRADCACHE_LAST;
  const bool valid = known && sequences <= rows->tokens && sequences >= (rows->tokens > 0 ? 1 : 0);
  return valid ? cudaSuccess : cudaErrorInvalidValue;
}

// Calls launch(T{}, constant) with the type and whether the maximum is taken as compile-time values.
template <class Launch>
cudaError_t withPooling(GradcacheType type, GradcachePooling pooling, Launch&& launch) {
  return withType(type, [&](auto element) {
    return pooling == GRADCACHE_MAX ? launch(element, std::true_type{}) : launch(element, std::false_type{});
  });
}

}  // namespace

}  // namespace gradcache::cuda

using namespace gradcache::cuda;

int gradcache_pool_forward(const GradcacheRows* rows, const int32_t* offsets, int32_t sequences,
                           GradcachePooling pooling, const void* x, float* y, float* norms, int32_t* argmax) {
  if (cudaError_t error = checkPool(rows, sequences, pooling)) return error;
  if (cudaError_t error = checkAligned(x)) return error;
  if (sequences == 0) return cudaSuccess;
  return withPooling(rows->type, pooling, [&](auto type, auto max) {
    using T = decltype(type);
    constexpr bool kMax = decltype(max)::value;
    const bool oneToken = pooling == GRADCACHE_CLS || pooling == GRADCACHE_LAST;
    const PoolLayout layout =
        PoolLayout::of(*rows, oneToken ? rows->tokens : sequences, kTokensAhead<T, kMax>);
    const size_t bytes =
        static_cast<size_t>(layout.rows) * static_cast<size_t>(rows->width) * sizeof(float) * (kMax ? 2 : 1);
    poolForwardKernel<T, kMax><<<static_cast<unsigned>(sequences), layout.threads(), bytes,
                                 static_cast<cudaStream_t>(rows->stream)>>>(
        {static_cast<const T*>(x), offsets, y, norms, argmax, pooling, layout});
    return cudaGetLastError();
  });
}

int gradcache_pool_backward(const GradcacheRows* rows, const int32_t* offsets, int32_t sequences,
                            GradcachePooling pooling, const float* dy, const float* y, const float* norms,
                            const int32_t* argmax, void* dx) {
  if (cudaError_t error = checkPool(rows, sequences, pooling)) return error;
  if (cudaError_t error = checkAligned(dx)) return error;
  if (sequences == 0) return cudaSuccess;
  return withPooling(rows->type, pooling, [&](auto type, auto max) {
    using T = decltype(type);
    const PoolLayout layout = PoolLayout::of(*rows, sequences, kTokensWritten);
    const int64_t pieces = ceilDivide(ceilDivide(rows->tokens, sequences), kPiece);
    const dim3 grid(static_cast<unsigned>(sequences),
                    static_cast<unsigned>(std::min<int64_t>(pieces, 65535)));
    poolBackwardKernel<T, decltype(max)::value>
        <<<grid, layout.threads(), static_cast<size_t>(rows->width) * sizeof(float),
           static_cast<cudaStream_t>(rows->stream)>>>(
            {dy, y, norms, argmax, offsets, static_cast<T*>(dx), pooling, layout});
    return cudaGetLastError();
  });
}
