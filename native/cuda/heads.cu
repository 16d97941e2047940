// Norm and rotation of each head of queries and keys, with the copy of the values, in one pass over qkv.
//
// A group of size / 16 neighbouring lanes has one head: a lane holds a vector of its first half and the one
// that is turned with it, of its second.
#include <type_traits>

#include "cuda/common.cuh"

namespace gradcache::cuda {

namespace {

constexpr int kThreads = 256, kBlocks = 4;

template <class T>
struct Heads {
  const T* qkv;  // null without norms in backward
  T* rows;
  const float *cosines, *sines;
  const int64_t* positions;
  const T *queryScale, *keyScale;
  float epsilon, offset;
  int tokens, queries, keys;
  float* partials;  // [blocks, 2, size]
};

template <class T, int Size>
struct Head {
  static constexpr int kLanes = Size / 16;
  float first[kVectorWidth], second[kVectorWidth];

  __device__ __forceinline__ void load(const T* data, int64_t vector) {
    unpack(loadStreaming(data, vector), first);
    unpack(loadStreaming(data, vector + kLanes), second);
  }
  __device__ __forceinline__ void put(T* data, int64_t vector) const {
    store(data, vector, pack<T>(first));
    store(data, vector + kLanes, pack<T>(second));
  }
};

template <int Lanes>
__device__ __forceinline__ float groupSum(float value) {
#pragma unroll
  for (int offset = Lanes / 2; offset > 0; offset >>= 1) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

template <class T, int Size>
__device__ __forceinline__ float inverseRoot(const Head<T, Size>& x, float epsilon) {
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kVectorWidth; ++i) {
    squares = __fmaf_rn(x.first[i], x.first[i], squares);
    squares = __fmaf_rn(x.second[i], x.second[i], squares);
  }
  return rsqrtf(__fmaf_rn(groupSum<Size / 16>(squares), 1.0f / Size, epsilon));
}

template <class T, int Size>
__device__ __forceinline__ void turn(const Heads<T>& a, int token, int lane, float sign, Head<T, Size>& x) {
  const int64_t vector = a.positions[token] * (Size / 16) + lane;
  float cosines[kVectorWidth], sines[kVectorWidth];
  unpack(loadConstant(a.cosines, vector), cosines);
  unpack(loadConstant(a.sines, vector), sines);
#pragma unroll
  for (int i = 0; i < kVectorWidth; ++i) {
    const float one = x.first[i], two = x.second[i], sine = sign * sines[i];
    x.first[i] = one * cosines[i] - two * sine;
    x.second[i] = two * cosines[i] + one * sine;
  }
}

template <class T, int Size>
__global__ __launch_bounds__(kThreads, kBlocks) void headsForwardKernel(const Heads<T> a, int copied) {
  constexpr int kLanes = Size / 16, kGroups = kThreads / kLanes;
  const int lane = threadIdx.x % kLanes;
  const int turned = a.queries + a.keys, all = turned + a.keys, walked = turned + copied;
  const int64_t count = static_cast<int64_t>(a.tokens) * walked;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kGroups;
  // All lanes of a warp stay together for the sums over a group.
  const int64_t rounds = (count + stride - 1) / stride;
  int64_t item = static_cast<int64_t>(blockIdx.x) * kGroups + threadIdx.x / kLanes;
  for (int64_t round = 0; round < rounds; ++round, item += stride) {
    const bool live = item < count;
    const int token = live ? static_cast<int>(item / walked) : 0,
              head = live ? static_cast<int>(item % walked) : 0;
    const int64_t vector = (static_cast<int64_t>(token) * all + head) * (2 * kLanes) + lane;
    Head<T, Size> x;
    x.load(a.qkv, vector);
    if (a.queryScale) {
      const float inverse = inverseRoot(x, a.epsilon);
      if (head < turned) {
        const T* scale = head < a.queries ? a.queryScale : a.keyScale;
        float first[kVectorWidth], second[kVectorWidth];
        unpack(loadConstant(scale, lane), first);
        unpack(loadConstant(scale, lane + kLanes), second);
#pragma unroll
        for (int i = 0; i < kVectorWidth; ++i) {
          x.first[i] = x.first[i] * inverse * (first[i] + a.offset);
          x.second[i] = x.second[i] * inverse * (second[i] + a.offset);
        }
      }
    }
    if (a.cosines && head < turned) turn(a, token, lane, 1.0f, x);
    if (live) x.put(a.rows, vector);
  }
}

// The gradients of a kind of heads: `first` is its first head, `heads` how many it has, `sums` the two halves
// of what its scale gets.
template <class T, int Size>
__device__ __forceinline__ void headsBackward(const Heads<T>& a, int first, int heads, const T* scale,
                                              float* sums) {
  constexpr int kLanes = Size / 16, kGroups = kThreads / kLanes;
  const int lane = threadIdx.x % kLanes;
  const int all = a.queries + 2 * a.keys;
  const int64_t count = static_cast<int64_t>(a.tokens) * heads;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kGroups;
  const int64_t rounds = (count + stride - 1) / stride;
  float scales[2 * kVectorWidth];
  if (scale) {
    unpack(loadConstant(scale, lane), scales);
    unpack(loadConstant(scale, lane + kLanes), scales + kVectorWidth);
  }
  int64_t item = static_cast<int64_t>(blockIdx.x) * kGroups + threadIdx.x / kLanes;
  for (int64_t round = 0; round < rounds; ++round, item += stride) {
    const bool live = item < count;
    const int token = live ? static_cast<int>(item / heads) : 0,
              head = first + (live ? static_cast<int>(item % heads) : 0);
    const int64_t vector = (static_cast<int64_t>(token) * all + head) * (2 * kLanes) + lane;
    Head<T, Size> d;
    d.load(a.rows, vector);
    if (a.cosines) turn(a, token, lane, -1.0f, d);
    if (scale) {
      Head<T, Size> x;
      x.load(a.qkv, vector);
      const float inverse = inverseRoot(x, a.epsilon);
      float along = 0;
#pragma unroll
      for (int i = 0; i < kVectorWidth; ++i) {
        x.first[i] *= inverse;
        x.second[i] *= inverse;
        if (live) {
          sums[i] = __fmaf_rn(d.first[i], x.first[i], sums[i]);
          sums[i + kVectorWidth] = __fmaf_rn(d.second[i], x.second[i], sums[i + kVectorWidth]);
        }
        d.first[i] *= scales[i] + a.offset;
        d.second[i] *= scales[i + kVectorWidth] + a.offset;
        along = __fmaf_rn(d.first[i], x.first[i], along);
        along = __fmaf_rn(d.second[i], x.second[i], along);
      }
      along = groupSum<kLanes>(along) * (1.0f / Size);
#pragma unroll
      for (int i = 0; i < kVectorWidth; ++i) {
        d.first[i] = inverse * (d.first[i] - x.first[i] * along);
        d.second[i] = inverse * (d.second[i] - x.second[i] * along);
      }
    }
    if (live) d.put(a.rows, vector);
  }
}

template <class T, int Size>
__global__ __launch_bounds__(kThreads, 2) void headsBackwardKernel(const Heads<T> a) {
  constexpr int kLanes = Size / 16, kGroups = kThreads / kLanes;
  __shared__ float meeting[kGroups * Size];
  for (int kind = 0; kind < 2; ++kind) {
    float sums[2 * kVectorWidth] = {};
    headsBackward<T, Size>(a, kind == 0 ? 0 : a.queries, kind == 0 ? a.queries : a.keys,
                           kind == 0 ? a.queryScale : a.keyScale, sums);
    if (!a.queryScale) continue;
    const int lane = threadIdx.x % kLanes, group = threadIdx.x / kLanes;
#pragma unroll
    for (int i = 0; i < kVectorWidth; ++i) {
      meeting[group * Size + lane * kVectorWidth + i] = sums[i];
      meeting[group * Size + (lane + kLanes) * kVectorWidth + i] = sums[i + kVectorWidth];
    }
    __syncthreads();
    for (int column = threadIdx.x; column < Size; column += kThreads) {
      float sum = 0;
      for (int g = 0; g < kGroups; ++g) sum += meeting[g * Size + column];
      a.partials[(static_cast<int64_t>(blockIdx.x) * 2 + kind) * Size + column] = sum;
    }
    __syncthreads();
  }
}

cudaError_t check(const GradcacheHeads* h) {
  const bool known = h && (h->type == GRADCACHE_FLOAT32 || h->type == GRADCACHE_BFLOAT16) &&
                     (h->size == 32 || h->size == 64 || h->size == 128 || h->size == 256);
  const bool valid = known && h->tokens >= 0 && h->tokens <= kMostTokens && h->queries > 0 && h->keys > 0 &&
                     (h->queryScale == nullptr) == (h->keyScale == nullptr) &&
                     (h->cosines == nullptr) == (h->sines == nullptr);
  if (!valid) return cudaErrorInvalidValue;
  return checkAligned(h->cosines, h->sines, h->queryScale, h->keyScale);
}

int blocksFor(const GradcacheHeads& h, int64_t heads) {
  const int64_t groups = kThreads / (h.size / 16);
  return static_cast<int>(
      std::min<int64_t>(ceilDivide(h.tokens * heads, groups), int64_t{multiprocessors()} * kBlocks));
}

int backwardBlocks(const GradcacheHeads& h) { return blocksFor(h, std::max(h.queries, h.keys)); }

template <class T>
Heads<T> describe(const GradcacheHeads& h) {
  Heads<T> a{};
  a.cosines = h.cosines;
  a.sines = h.sines;
  a.positions = h.positions;
  a.queryScale = static_cast<const T*>(h.queryScale);
  a.keyScale = static_cast<const T*>(h.keyScale);
  a.epsilon = h.epsilon;
  a.offset = h.offset;
  a.tokens = static_cast<int>(h.tokens);
  a.queries = h.queries;
  a.keys = h.keys;
  return a;
}

// Calls launch with the size as a compile-time value.
template <class Launch>
cudaError_t withSize(int size, Launch&& launch) {
  switch (size) {
    case 32:
      return launch(std::integral_constant<int, 32>{});
    case 64:
      return launch(std::integral_constant<int, 64>{});
    case 128:
      return launch(std::integral_constant<int, 128>{});
    default:
      return launch(std::integral_constant<int, 256>{});
  }
}

}  // namespace

}  // namespace gradcache::cuda

using namespace gradcache::cuda;

int gradcache_heads_forward(const GradcacheHeads* heads, const void* qkv, void* prepared) {
  if (cudaError_t error = check(heads)) return error;
  if (cudaError_t error = checkAligned(qkv, prepared)) return error;
  if (heads->tokens == 0) return cudaSuccess;
  const int copied = qkv == prepared ? 0 : heads->keys;  // the values
  const int blocks = blocksFor(*heads, heads->queries + heads->keys + copied);
  if (blocks == 0) return cudaErrorNoDevice;
  return withType(heads->type, [&](auto type) {
    using T = decltype(type);
    Heads<T> a = describe<T>(*heads);
    a.qkv = static_cast<const T*>(qkv);
    a.rows = static_cast<T*>(prepared);
    return withSize(heads->size, [&](auto size) {
      headsForwardKernel<T, decltype(size)::value>
          <<<blocks, kThreads, 0, static_cast<cudaStream_t>(heads->stream)>>>(a, copied);
      return cudaGetLastError();
    });
  });
}

size_t gradcache_heads_backward_scratch(const GradcacheHeads* heads) {
  if (check(heads) || !heads->queryScale) return 0;
  return static_cast<size_t>(backwardBlocks(*heads)) * 2 * heads->size * sizeof(float);
}

int gradcache_heads_backward(const GradcacheHeads* heads, const void* qkv, void* gradient,
                             float* queryGradient, float* keyGradient, void* scratch) {
  if (cudaError_t error = check(heads)) return error;
  if (cudaError_t error = checkAligned(qkv, gradient, scratch)) return error;
  if (heads->tokens == 0) return cudaSuccess;
  const int blocks = backwardBlocks(*heads);
  if (blocks == 0) return cudaErrorNoDevice;
  const auto stream = static_cast<cudaStream_t>(heads->stream);
  const cudaError_t error = withType(heads->type, [&](auto type) {
    using T = decltype(type);
    Heads<T> a = describe<T>(*heads);
    a.qkv = static_cast<const T*>(qkv);
    a.rows = static_cast<T*>(gradient);
    a.partials = static_cast<float*>(scratch);
    return withSize(heads->size, [&](auto size) {
      headsBackwardKernel<T, decltype(size)::value><<<blocks, kThreads, 0, stream>>>(a);
      return cudaGetLastError();
    });
  });
  if (error || !heads->queryScale) return error;
  return addPartialSums(static_cast<float*>(scratch), blocks, heads->size,
                        {{queryGradient, keyGradient, nullptr}, 2}, stream);
}
