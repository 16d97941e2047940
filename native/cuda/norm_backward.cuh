// The backward of norms, with the gradients of its parameters summed in the same pass. A lane keeps up to
// three sums for each of its columns, which fills the registers: so rows wait in shared memory, where
// asynchronous copies put them ahead of time, and wide rows are split over two or four warps. Behind a
// sandwich's outer norm goes that of its inner norm, in the same sweep.
#pragma once

#include "cuda/common.cuh"
#include "cuda/norm_backward_layout.cuh"
#include "cuda/norm_kinds.cuh"

namespace gradcache::cuda {

// Of kNormedBranch alone, where nothing drops out and the norm has no shift.
template <class T>
struct InnerNormBackward {
  const T* sum;
  const T* scale;
  const float *mean, *rstd;
};

template <class T>
struct NormBackward {
  const T *dy, *sum;
  const T* beside;  // [tokens, width] or null: a gradient of the sum that does not come through the norm
  const float *mean, *rstd;
  const T *scale, *shift;
  T *dsum, *dx, *y;  // dx and y may be null
  float* partials;   // [blocks, sums, width]
  int tokens, vectors;
  int besideVectors, dsumVectors, dxVectors;  // from one row to the next
  float inverseWidth;
  float offset;     // added to the scale
  bool rootSquare;  // the mean was taken to be 0
  DropoutKey key;
  InnerNormBackward<T> inner;  // dx is then the gradient of its sum
};

template <class T>
constexpr int kBackwardStages = Vector<T>::kPieces == 1 ? 3 : 2;
// What waits of a row: dy, sum, and the inner norm's sum.
template <Summed kSummed>
constexpr int kInputs = kSummed == Summed::kNormedBranch ? 3 : 2;
// Shared memory in which one warp's rows wait.
template <class T, int V, Summed kSummed>
constexpr int kRingBytes =
    kBackwardStages<T> * kInputs<kSummed> * V * 32 * static_cast<int>(sizeof(Vector<T>));

__device__ __forceinline__ void copyAsync(uint32_t target, const void* source) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(target), "l"(source) : "memory");
}
__device__ __forceinline__ uint4 loadShared(uint32_t address) {
  uint4 value;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(address)
               : "memory");
  return value;
}

// What a vector adds to the scale's gradient and to the row's means: d is the gradient behind the norm, s
// what it took, g its scale.
__device__ __forceinline__ void addMeans(const float* d, const float* s, const float* g, float mean,
                                         float rstd, float offset, float* scaleSum, float& total,
                                         float& projection) {
#pragma unroll
  for (int i = 0; i < kVectorWidth; ++i) {
    const float n = normalized(s[i], mean, rstd);
    scaleSum[i] = __fmaf_rn(d[i], n, scaleSum[i]);
    const float t = d[i] * (g[i] + offset);
    total += t;
    projection = __fmaf_rn(t, n, projection);
  }
}

// d becomes the gradient of s, s normalized, and g the whole scale.
__device__ __forceinline__ void throughNorm(float* d, float* s, float* g, float mean, float rstd,
                                            float offset, float total, float projection) {
#pragma unroll
  for (int i = 0; i < kVectorWidth; ++i) {
    s[i] = normalized(s[i], mean, rstd);
    g[i] = __fadd_rn(g[i], offset);
    d[i] = rstd * (__fmaf_rn(d[i], g[i], -total) - s[i] * projection);
  }
}

// V: vectors per lane; G: warps per row. The row's vectors lie on warp and lane as (v * G + warp of the row)
// * 32 + lane. In the ring, each piece of 16 bytes has a stretch of 512 bytes for the 32 lanes, and a lane
// reads only what it copied itself: the ring needs no barrier.
template <class T, int V, int G, Summed kSummed, Gradients kGradients>
__global__ __launch_bounds__(
    kBackwardWarps * 32, (BackwardLayout{V, G, kGradients == Gradients::kScale}
                              .blocksPerMultiprocessor())) void normBackwardKernel(const NormBackward<T> a) {
  constexpr int kStages = kBackwardStages<T>, kPieces = Vector<T>::kPieces, kRows = kBackwardWarps / G,
                kSums = kSumsOf<kGradients>;
  constexpr bool Embedding = kSummed == Summed::kEmbedding, kInner = kSummed == Summed::kNormedBranch,
                 kAll = kGradients == Gradients::kParameters;
  constexpr int kInput = V * kPieces * 512;  // bytes of one input of one stage
  constexpr int kStage = kInputs<kSummed> * kInput;
  constexpr int kColumns = V * 32 * kVectorWidth;
  extern __shared__ __align__(16) unsigned char shared[];
  __shared__ float2 rowSums[2][kBackwardWarps];
  Vector<T>* const scale = reinterpret_cast<Vector<T>*>(shared + kBackwardWarps * kRingBytes<T, V, kSummed>);
  Vector<T>* const shift = scale + a.vectors;  // kInner: the inner scale
  for (int i = threadIdx.x; i < a.vectors; i += blockDim.x) {
    scale[i] = loadConstant(a.scale, i);
    if constexpr (kInner) {
      shift[i] = loadConstant(a.inner.scale, i);
    } else if constexpr (!Embedding && kAll) {
      shift[i] = a.shift ? loadConstant(a.shift, i) : zeroVector<T>();
    }
  }
  __syncthreads();

  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int part = warp % G;  // of the row
  const uint32_t ring =
      static_cast<uint32_t>(__cvta_generic_to_shared(shared)) + warp * kRingBytes<T, V, kSummed> + lane * 16;
  auto vectorOf = [&](int v) { return (v * G + part) * 32 + lane; };
  // Every width that (V, G) serves fills all but the last vector where one warp has the row.
  auto inside = [&](int v) { return (G == 1 && v < V - 1) || vectorOf(v) < a.vectors; };
  auto fetch = [&](int row, int stage) {
    if (row < a.tokens) {
      const uint32_t target = ring + stage * kStage;
#pragma unroll
      for (int v = 0; v < V; ++v) {
        if (inside(v)) {
          const int64_t piece = (static_cast<int64_t>(row) * a.vectors + vectorOf(v)) * kPieces;
#pragma unroll
          for (int p = 0; p < kPieces; ++p) {
            copyAsync(target + (v * kPieces + p) * 512, reinterpret_cast<const uint4*>(a.dy) + piece + p);
            copyAsync(target + kInput + (v * kPieces + p) * 512,
                      reinterpret_cast<const uint4*>(a.sum) + piece + p);
            if constexpr (kInner)
              copyAsync(target + 2 * kInput + (v * kPieces + p) * 512,
                        reinterpret_cast<const uint4*>(a.inner.sum) + piece + p);
          }
        }
      }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  };
  auto waiting = [&](int stage, int input, int v) {
    Vector<T> value;
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      value.piece[p] = loadShared(ring + stage * kStage + input * kInput + (v * kPieces + p) * 512);
    }
    return value;
  };

  float sums[kSums][V * kVectorWidth] = {};
  float *const scaleSum = sums[0], *const lastSum = sums[kSums - 1];

  const int stride = gridDim.x * kRows;
  int row = blockIdx.x * kRows + warp / G;
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) fetch(row + s * stride, s);
  float nextMean = 0, nextRstd = 0, nextInnerMean = 0, nextInnerRstd = 0;
  auto readAhead = [&](int of) {
    if (of >= a.tokens) return;
    nextMean = a.rootSquare ? 0.0f : a.mean[of];
    nextRstd = a.rstd[of];
    if constexpr (kInner) {
      nextInnerMean = a.rootSquare ? 0.0f : a.inner.mean[of];
      nextInnerRstd = a.inner.rstd[of];
    }
  };
  readAhead(row);
  int stage = 0, parity = 0;
  // The block's warps stay together where they meet at barriers, so all of them run until its first row is
  // past the end.
  for (int first = blockIdx.x * kRows; first < a.tokens; first += stride, row += stride) {
    if (G == 1 && row >= a.tokens) break;
    const bool live = G == 1 || row < a.tokens;
    fetch(row + (kStages - 1) * stride, stage == 0 ? kStages - 1 : stage - 1);
    const float mean = nextMean, rstd = nextRstd;
    [[maybe_unused]] const float innerMean = nextInnerMean, innerRstd = nextInnerRstd;
    readAhead(row + stride);
    asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 1) : "memory");

    const uint32_t random = dropoutRow(a.key, static_cast<uint32_t>(row));
    auto placeOf = [&](int rowVectors, int v) { return int64_t{row} * rowVectors + vectorOf(v); };
    // The gradient behind the norm; an embedding's comes through the dropout first.
    auto gradient = [&](int v, float* d) {
      unpack(waiting(stage, 0, v), d);
      if constexpr (Embedding) {
        bool keeps[kVectorWidth];
        dropoutKeepsVector(random, static_cast<uint32_t>(vectorOf(v)), a.key.threshold, keeps);
#pragma unroll
        for (int i = 0; i < kVectorWidth; ++i) d[i] = keeps[i] ? d[i] * a.key.scale : 0.0f;
      }
    };
    float total = 0, projection = 0;
    if (live) {
#pragma unroll
      for (int v = 0; v < V; ++v) {
        if (inside(v)) {
          float d[kVectorWidth], s[kVectorWidth], g[kVectorWidth];
          gradient(v, d);
          unpack(waiting(stage, 1, v), s);
          unpack(scale[vectorOf(v)], g);
          addMeans(d, s, g, mean, rstd, a.offset, scaleSum + v * kVectorWidth, total, projection);
          if constexpr (kAll) {
#pragma unroll
            for (int i = 0; i < kVectorWidth; ++i) sums[1][v * kVectorWidth + i] += d[i];
          }
        }
      }
    }
    // The row's means of what the lanes hold.
    auto average = [&] {
      total = warpSum(total);
      projection = warpSum(projection);
      if constexpr (G > 1) {
        // Two sets by turns: a warp that is ahead writes the other one.
        if (lane == 0) rowSums[parity][warp] = make_float2(total, projection);
        __syncthreads();
        total = projection = 0;
#pragma unroll
        for (int g = 0; g < G; ++g) {
          const float2 one = rowSums[parity][warp - part + g];
          total += one.x;
          projection += one.y;
        }
        parity ^= 1;
      }
      total *= a.rootSquare ? 0.0f : a.inverseWidth;
      projection *= a.inverseWidth;
    };
    average();
    Vector<T> passed[kInner ? V : 1];  // the sum's gradient, as the inner norm takes it
    if (live) {
#pragma unroll
      for (int v = 0; v < V; ++v) {
        if (inside(v)) {
          const int64_t place = placeOf(a.vectors, v);
          float d[kVectorWidth], s[kVectorWidth], g[kVectorWidth];
          gradient(v, d);
          unpack(waiting(stage, 1, v), s);
          unpack(scale[vectorOf(v)], g);
          throughNorm(d, s, g, mean, rstd, a.offset, total, projection);
          if (!Embedding && a.beside) {
            float beside[kVectorWidth];
            unpack(loadStreaming(a.beside, placeOf(a.besideVectors, v)), beside);
#pragma unroll
            for (int i = 0; i < kVectorWidth; ++i) d[i] += beside[i];
          }
          store(a.dsum, placeOf(a.dsumVectors, v), pack<T>(d));
          if constexpr (kInner) {
            passed[v] = pack<T>(d);
            if (a.y) {
#pragma unroll
              for (int i = 0; i < kVectorWidth; ++i) g[i] = affine(s[i], g[i], 0.0f);
              store(a.y, place, pack<T>(g));
            }
          } else if constexpr (Embedding) {
#pragma unroll
            for (int i = 0; i < kVectorWidth; ++i) lastSum[v * kVectorWidth + i] += d[i];
          } else {
            if (a.y) {
              float b[kVectorWidth];
              unpack(kAll ? shift[vectorOf(v)] : zeroVector<T>(), b);
#pragma unroll
              for (int i = 0; i < kVectorWidth; ++i) b[i] = affine(s[i], g[i], b[i]);
              store(a.y, place, pack<T>(b));
            }
            if (a.key.threshold != 0) {
              bool keeps[kVectorWidth];
              dropoutKeepsVector(random, static_cast<uint32_t>(vectorOf(v)), a.key.threshold, keeps);
#pragma unroll
              for (int i = 0; i < kVectorWidth; ++i) d[i] = keeps[i] ? d[i] * a.key.scale : 0.0f;
            }
            if constexpr (kAll) {
#pragma unroll
              for (int i = 0; i < kVectorWidth; ++i) lastSum[v * kVectorWidth + i] += d[i];
            }
            if (a.dx) store(a.dx, placeOf(a.dxVectors, v), pack<T>(d));
          }
        }
      }
    }
    if constexpr (kInner) {
      total = projection = 0;
      if (live) {
#pragma unroll
        for (int v = 0; v < V; ++v) {
          if (inside(v)) {
            float d[kVectorWidth], s[kVectorWidth], g[kVectorWidth];
            unpack(passed[v], d);
            unpack(waiting(stage, 2, v), s);
            unpack(shift[vectorOf(v)], g);
            addMeans(d, s, g, innerMean, innerRstd, a.offset, lastSum + v * kVectorWidth, total, projection);
          }
        }
      }
      average();
      if (live) {
#pragma unroll
        for (int v = 0; v < V; ++v) {
          if (inside(v)) {
            float d[kVectorWidth], s[kVectorWidth], g[kVectorWidth];
            unpack(passed[v], d);
            unpack(waiting(stage, 2, v), s);
            unpack(shift[vectorOf(v)], g);
            throughNorm(d, s, g, innerMean, innerRstd, a.offset, total, projection);
            store(a.dx, placeOf(a.dxVectors, v), pack<T>(d));
          }
        }
      }
    }
    if (++stage == kStages) stage = 0;
  }
  asm volatile("cp.async.wait_all;" ::: "memory");

  // The block's warps meet in shared memory, the ring's, for one sum at a time.
  float* const meeting = reinterpret_cast<float*>(shared);  // [kBackwardWarps, kColumns]
  const int width = a.vectors * kVectorWidth;
#pragma unroll
  for (int target = 0; target < kSums; ++target) {
    __syncthreads();
#pragma unroll
    for (int v = 0; v < V; ++v) {
      float4* to = reinterpret_cast<float4*>(meeting + warp * kColumns + (v * 32 + lane) * kVectorWidth);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int i = v * kVectorWidth + 4 * h;
        const float* from = sums[target];
        to[h] = make_float4(from[i], from[i + 1], from[i + 2], from[i + 3]);
      }
    }
    __syncthreads();
    for (int column = threadIdx.x; column < width; column += kBackwardWarps * 32) {
      const int vector = column / kVectorWidth, stretch = vector / 32;
      const int local = (stretch / G * 32 + vector % 32) * kVectorWidth + column % kVectorWidth;
      float sum = 0;
#pragma unroll
      for (int r = 0; r < kRows; ++r) sum += meeting[(r * G + stretch % G) * kColumns + local];
      a.partials[(static_cast<int64_t>(blockIdx.x) * kSums + target) * width + column] = sum;
    }
  }
}

template <class T, int V, int G, Summed kSummed, Gradients kGradients>
cudaError_t launchNormBackward(const NormBackward<T>& a, int blocks, cudaStream_t stream) {
  constexpr auto kernel = normBackwardKernel<T, V, G, kSummed, kGradients>;
  const size_t bytes =
      kBackwardWarps * kRingBytes<T, V, kSummed> + 2 * static_cast<size_t>(a.vectors) * sizeof(Vector<T>);
  if (cudaError_t error = allowSharedMemory(reinterpret_cast<const void*>(kernel), bytes)) return error;
  kernel<<<blocks, kBackwardWarps * 32, bytes, stream>>>(a);
  return cudaGetLastError();
}

// Fills in what all have in common, picks the kernel for the width and adds up the parameters'
// gradients. a.tokens must not be 0.
template <class T, Summed kSummed, Gradients kGradients>
cudaError_t normBackward(const GradcacheRows& rows, NormBackward<T> a, const SumTargets& targets,
                         cudaStream_t stream) {
  a.tokens = static_cast<int>(rows.tokens);
  a.vectors = static_cast<int>(rows.width / kVectorWidth);
  a.inverseWidth = 1.0f / static_cast<float>(rows.width);
  constexpr bool kOne = kGradients == Gradients::kScale;
  const BackwardLayout layout = BackwardLayout::of(rows.width, kOne);
  const int blocks = layout.blocks(rows.tokens);
  if (blocks == 0) return cudaErrorNoDevice;
  const auto launch = [&] {
    switch (layout.warpsPerRow * 10 + layout.vectorsPerLane) {
      case 11:
        return launchNormBackward<T, 1, 1, kSummed, kGradients>(a, blocks, stream);
      case 12:
        return launchNormBackward<T, 2, 1, kSummed, kGradients>(a, blocks, stream);
      case 13:
        return launchNormBackward<T, 3, 1, kSummed, kGradients>(a, blocks, stream);
      case 23:
        return launchNormBackward<T, 3, 2, kSummed, kGradients>(a, blocks, stream);
      case kOne ? 14:
        22 : return launchNormBackward<T, kOne ? 4 : 2, kOne ? 1 : 2, kSummed, kGradients>(a, blocks, stream);
      default:
        return launchNormBackward<T, kOne ? 4 : 2, kOne ? 2 : 4, kSummed, kGradients>(a, blocks, stream);
    }
  };
  if (cudaError_t error = launch()) return error;
  return addPartialSums(a.partials, blocks, static_cast<int>(rows.width), targets, stream);
}

}  // namespace gradcache::cuda
