// Norm and rotation of each head of queries and keys in one pass over qkv.
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
  int qkvVectors, rowsVectors;  // from one row to the next
  float* partials;              // [blocks, 2, size]
};

// A head as it lies in memory: a group reads the next one before it has done with this one.
template <class T, int Size>
struct PackedHead {
  Vector<T> first, second;

  __device__ __forceinline__ void load(const T* data, int64_t vector) {
    first = loadStreaming(data, vector);
    second = loadStreaming(data, vector + Size / 16);
  }
  __device__ __forceinline__ void loadScale(const T* scale, int lane) {
    first = loadConstant(scale, lane);
    second = loadConstant(scale, lane + Size / 16);
  }
};

template <class T, int Size>
struct Head {
  float first[kVectorWidth], second[kVectorWidth];

  __device__ __forceinline__ explicit Head(const PackedHead<T, Size>& packed) {
    unpack(packed.first, first);
    unpack(packed.second, second);
  }
  __device__ __forceinline__ void put(T* data, int64_t vector) const {
    store(data, vector, pack<T>(first));
    store(data, vector + Size / 16, pack<T>(second));
  }
};

// Where a group stands: it walks over `heads` heads of each token, from one to the next that is its own
// without a division.
struct Walk {
  int heads, token, head, tokensAStep, headsAStep;

  __device__ __forceinline__ Walk(int heads, int groups)
      : heads(heads),
        token((static_cast<int>(blockIdx.x) * groups + group(groups)) / heads),
        head((static_cast<int>(blockIdx.x) * groups + group(groups)) % heads),
        tokensAStep(static_cast<int>(gridDim.x) * groups / heads),
        headsAStep(static_cast<int>(gridDim.x) * groups % heads) {}
  __device__ static __forceinline__ int group(int groups) {
    return static_cast<int>(threadIdx.x) / (kThreads / groups);
  }
  __device__ __forceinline__ void step() {
    token += tokensAStep;
    head += headsAStep;
    if (head >= heads) {
      head -= heads;
      ++token;
    }
  }
};

// Calls body() until the first group of the block is past the last token: all lanes of a warp stay together
// for the sums over a group.
template <class Body>
__device__ __forceinline__ void forEachRound(int tokens, int heads, int groups, Body body) {
  const int64_t count = int64_t{tokens} * heads, stride = int64_t{gridDim.x} * groups;
  for (int64_t item = int64_t{blockIdx.x} * groups; item < count; item += stride) body();
}

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
__device__ __forceinline__ void turn(const Heads<T>& a, int64_t position, int lane, float sign,
                                     Head<T, Size>& x) {
  const int64_t vector = position * (Size / 16) + lane;
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
__global__ __launch_bounds__(kThreads, kBlocks) void headsForwardKernel(const Heads<T> a) {
  constexpr int kLanes = Size / 16, kGroups = kThreads / kLanes;
  const int lane = threadIdx.x % kLanes;
  Walk next(a.queries + a.keys, kGroups);
  PackedHead<T, Size> packed{};
  int64_t position = 0;
  const auto fetch = [&] {
    if (next.token >= a.tokens) return;
    packed.load(a.qkv, int64_t{next.token} * a.qkvVectors + next.head * (2 * kLanes) + lane);
    if (a.cosines) position = a.positions[next.token];
  };
  fetch();
  forEachRound(a.tokens, next.heads, kGroups, [&] {
    Head<T, Size> x(packed);
    const int token = next.token, head = next.head;
    const int64_t place = position;
    next.step();
    fetch();
    if (a.queryScale) {
      const float inverse = inverseRoot(x, a.epsilon);
      PackedHead<T, Size> scale;
      scale.loadScale(head < a.queries ? a.queryScale : a.keyScale, lane);
      const Head<T, Size> s(scale);
#pragma unroll
      for (int i = 0; i < kVectorWidth; ++i) {
        x.first[i] = x.first[i] * inverse * (s.first[i] + a.offset);
        x.second[i] = x.second[i] * inverse * (s.second[i] + a.offset);
      }
    }
    if (a.cosines) turn(a, place, lane, 1.0f, x);
    if (token < a.tokens) x.put(a.rows, int64_t{token} * a.rowsVectors + head * (2 * kLanes) + lane);
  });
}

// The gradients of a kind of heads: `first` is its first head, `heads` how many it has, `sums` the two halves
// of what its scale gets.
template <class T, int Size>
__device__ __forceinline__ void headsBackward(const Heads<T>& a, int first, int heads, const T* scale,
                                              float* sums) {
  constexpr int kLanes = Size / 16, kGroups = kThreads / kLanes;
  const int lane = threadIdx.x % kLanes;
  PackedHead<T, Size> packedScale{};
  if (scale) packedScale.loadScale(scale, lane);
  Walk next(heads, kGroups);
  PackedHead<T, Size> gradient{}, input{};
  int64_t target = 0, position = 0;
  const auto fetch = [&] {
    if (next.token >= a.tokens) return;
    const int column = (first + next.head) * (2 * kLanes) + lane;
    target = int64_t{next.token} * a.rowsVectors + column;
    gradient.load(a.rows, target);
    if (scale) input.load(a.qkv, int64_t{next.token} * a.qkvVectors + column);
    if (a.cosines) position = a.positions[next.token];
  };
  fetch();
  forEachRound(a.tokens, heads, kGroups, [&] {
    Head<T, Size> d(gradient), x(input);
    const bool live = next.token < a.tokens;
    const int64_t to = target, place = position;
    next.step();
    fetch();
    if (a.cosines) turn(a, place, lane, -1.0f, d);
    if (scale) {
      const float inverse = inverseRoot(x, a.epsilon);
      const Head<T, Size> s(packedScale);
      float along = 0;
#pragma unroll
      for (int i = 0; i < kVectorWidth; ++i) {
        x.first[i] *= inverse;
        x.second[i] *= inverse;
        if (live) {
          sums[i] = __fmaf_rn(d.first[i], x.first[i], sums[i]);
          sums[i + kVectorWidth] = __fmaf_rn(d.second[i], x.second[i], sums[i + kVectorWidth]);
        }
        d.first[i] *= s.first[i] + a.offset;
        d.second[i] *= s.second[i] + a.offset;
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
    if (live) d.put(a.rows, to);
  });
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

cudaError_t checkStrides(const GradcacheHeads& h, int64_t one, int64_t other) {
  const int64_t width = int64_t{h.queries + h.keys} * h.size;
  if (cudaError_t error = checkStride(one, width)) return error;
  return checkStride(other, width);
}

int blocksFor(const GradcacheHeads& h, int64_t heads) {
  const int64_t groups = kThreads / (h.size / 16);
  return static_cast<int>(
      std::min<int64_t>(ceilDivide(h.tokens * heads, groups), int64_t{multiprocessors()} * kBlocks));
}

int backwardBlocks(const GradcacheHeads& h) { return blocksFor(h, std::max(h.queries, h.keys)); }

template <class T>
Heads<T> describe(const GradcacheHeads& h, int64_t stride, int64_t rowsStride) {
  Heads<T> a{};
  a.qkvVectors = static_cast<int>(stride / kVectorWidth);
  a.rowsVectors = static_cast<int>(rowsStride / kVectorWidth);
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

int gradcache_heads_forward(const GradcacheHeads* heads, const void* qkv, int64_t stride, void* prepared,
                            int64_t preparedStride) {
  if (cudaError_t error = check(heads)) return error;
  if (cudaError_t error = checkStrides(*heads, stride, preparedStride)) return error;
  if (cudaError_t error = checkAligned(qkv, prepared)) return error;
  if (heads->tokens == 0) return cudaSuccess;
  const int blocks = blocksFor(*heads, heads->queries + heads->keys);
  if (blocks == 0) return cudaErrorNoDevice;
  return withType(heads->type, [&](auto type) {
    using T = decltype(type);
    Heads<T> a = describe<T>(*heads, stride, preparedStride);
    a.qkv = static_cast<const T*>(qkv);
    a.rows = static_cast<T*>(prepared);
    return withSize(heads->size, [&](auto size) {
      headsForwardKernel<T, decltype(size)::value>
          <<<blocks, kThreads, 0, static_cast<cudaStream_t>(heads->stream)>>>(a);
      return cudaGetLastError();
    });
  });
}

size_t gradcache_heads_backward_scratch(const GradcacheHeads* heads) {
  if (check(heads) || !heads->queryScale) return 0;
  return static_cast<size_t>(backwardBlocks(*heads)) * 2 * heads->size * sizeof(float);
}

int gradcache_heads_backward(const GradcacheHeads* heads, const void* qkv, int64_t stride, void* gradient,
                             int64_t gradientStride, float* queryGradient, float* keyGradient,
                             void* scratch) {
  if (cudaError_t error = check(heads)) return error;
  if (cudaError_t error = checkStrides(*heads, stride, gradientStride)) return error;
  if (cudaError_t error = checkAligned(qkv, gradient, scratch)) return error;
  if (heads->tokens == 0) return cudaSuccess;
  const int blocks = backwardBlocks(*heads);
  if (blocks == 0) return cudaErrorNoDevice;
  const auto stream = static_cast<cudaStream_t>(heads->stream);
  const cudaError_t error = withType(heads->type, [&](auto type) {
    using T = decltype(type);
    Heads<T> a = describe<T>(*heads, stride, gradientStride);
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
