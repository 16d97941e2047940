// Norms over rows, one warp a row: the row stays in registers between the sum, its statistics and the
// output. What is summed differs: x + bias behind dropout and a residual (norm_forward.cu), the norm of that
// behind dropout and a residual (sandwich_norm.cu), or rows of tables (embedding.cu).
#pragma once

#include "cuda/common.cuh"
#include "cuda/norm_kinds.cuh"

namespace gradcache::cuda {

// The norm of a branch, in front of the sum: of kNormedBranch alone.
template <class T>
struct InnerNorm {
  const T *scale, *shift;
  T* sum;  // x + bias; null where that is x
  float *mean, *rstd;
};

template <class T>
struct NormForward {
  const T *x, *bias, *residual;
  const int64_t *ids, *places;
  const T *scale, *shift;
  T *y, *sum;
  float *mean, *rstd;
  int tokens, vectors;
  int yVectors;  // from one row of y to the next
  float inverseWidth, epsilon;
  float offset;     // added to the scale
  bool rootSquare;  // the mean is taken to be 0
  DropoutKey key;
  InnerNorm<T> inner;
};

constexpr int kForwardWarps = 8;
// Blocks a multiprocessor holds at once: what registers allow.
constexpr int forwardBlocks(int vectorsPerLane) {
  return vectorsPerLane == 1   ? 5
         : vectorsPerLane == 2 ? 4
         : vectorsPerLane == 3 ? 3
         : vectorsPerLane <= 6 ? 2
                               : 1;
}

// Vectors of a lane that are there at every width that V serves; the others are asked for.
template <int V>
constexpr int kFullVectors = V <= 4 ? V - 1 : V - 2;

struct RowStatistics {
  float mean, rstd;
};

// Of the row whose vectors the warp's lanes hold; `total` is the sum of this lane's numbers.
template <class T, int V>
__device__ __forceinline__ RowStatistics statisticsOf(const float (&row)[V * kVectorWidth], float total,
                                                      const NormForward<T>& a) {
  const int lane = threadIdx.x & 31;
  const float mean = a.rootSquare ? 0.0f : __fmul_rn(warpSum(total), a.inverseWidth);
  float squares = 0;
#pragma unroll
  for (int v = 0; v < V; ++v) {
    if (v < kFullVectors<V> || v * 32 + lane < a.vectors) {
#pragma unroll
      for (int i = 0; i < kVectorWidth; ++i) {
        const float difference = __fsub_rn(row[v * kVectorWidth + i], mean);
        squares = __fmaf_rn(difference, difference, squares);
      }
    }
  }
  return {mean, rsqrtf(__fmaf_rn(warpSum(squares), a.inverseWidth, a.epsilon))};
}

// V: vectors per lane. Lane l holds the vectors l, l + 32, ... of the row.
template <class T, int V, Summed kSummed>
__global__ __launch_bounds__(kForwardWarps * 32,
                             forwardBlocks(V)) void normForwardKernel(const NormForward<T> a) {
  constexpr int kFull = kFullVectors<V>;
  constexpr bool Embedding = kSummed == Summed::kEmbedding, kInner = kSummed == Summed::kNormedBranch;
  extern __shared__ __align__(16) unsigned char shared[];
  Vector<T>* const bias = reinterpret_cast<Vector<T>*>(shared);
  Vector<T>* const scale = bias + a.vectors;
  Vector<T>* const shift = scale + a.vectors;
  Vector<T>* const innerScale = shift + a.vectors;
  Vector<T>* const innerShift = innerScale + a.vectors;
  for (int i = threadIdx.x; i < a.vectors; i += blockDim.x) {
    bias[i] = a.bias ? loadConstant(a.bias, i) : zeroVector<T>();
    scale[i] = loadConstant(a.scale, i);
    shift[i] = a.shift ? loadConstant(a.shift, i) : zeroVector<T>();
    if constexpr (kInner) {
      innerScale[i] = loadConstant(a.inner.scale, i);
      innerShift[i] = a.inner.shift ? loadConstant(a.inner.shift, i) : zeroVector<T>();
    }
  }
  __syncthreads();

  const int lane = threadIdx.x & 31;
  const int stride = gridDim.x * kForwardWarps;
  int row = blockIdx.x * kForwardWarps + (threadIdx.x >> 5);
  int64_t id = 0, place = 0;
  if (Embedding && row < a.tokens) {
    id = a.ids[row];
    place = a.places[row];
  }
  for (; row < a.tokens; row += stride) {
    const int64_t start = static_cast<int64_t>(row) * a.vectors;
    Vector<T> x[V], residual[V];
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const int vector = v * 32 + lane;
      x[v] = residual[v] = zeroVector<T>();
      if (v < kFull || vector < a.vectors) {
        if constexpr (Embedding) {
          x[v] = loadConstant(a.x, id * a.vectors + vector);
          residual[v] = loadConstant(a.residual, place * a.vectors + vector);
        } else {
          x[v] = loadStreaming(a.x, start + vector);
          if (a.residual) residual[v] = loadStreaming(a.residual, start + vector);
        }
      }
    }
    if (Embedding && row + stride < a.tokens) {
      id = a.ids[row + stride];
      place = a.places[row + stride];
    }

    const uint32_t random = dropoutRow(a.key, static_cast<uint32_t>(row));
    float sum[V * kVectorWidth];
    float total = 0;
    if constexpr (kInner) {
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const int vector = v * 32 + lane;
        if (v < kFull || vector < a.vectors) {
          float p[kVectorWidth], b[kVectorWidth];
          unpack(x[v], p);
          unpack(bias[vector], b);
#pragma unroll
          for (int i = 0; i < kVectorWidth; ++i) p[i] = __fadd_rn(p[i], b[i]);
          x[v] = pack<T>(p);
          if (a.inner.sum) store(a.inner.sum, start + vector, x[v]);
          unpack(x[v], sum + v * kVectorWidth);
#pragma unroll
          for (int i = 0; i < kVectorWidth; ++i) total = __fadd_rn(total, sum[v * kVectorWidth + i]);
        }
      }
      const RowStatistics inner = statisticsOf<T, V>(sum, total, a);
      if (lane == 0) {
        if (a.inner.mean) a.inner.mean[row] = inner.mean;
        if (a.inner.rstd) a.inner.rstd[row] = inner.rstd;
      }
      total = 0;
      // In the type of the rows, as a norm of its own would have written them.
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const int vector = v * 32 + lane;
        if (v < kFull || vector < a.vectors) {
          float g[kVectorWidth], b[kVectorWidth], y[kVectorWidth];
          unpack(innerScale[vector], g);
          unpack(innerShift[vector], b);
#pragma unroll
          for (int i = 0; i < kVectorWidth; ++i)
            y[i] = affine(normalized(sum[v * kVectorWidth + i], inner.mean, inner.rstd),
                          __fadd_rn(g[i], a.offset), b[i]);
          x[v] = pack<T>(y);
        }
      }
    }
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const int vector = v * 32 + lane;
      if (v < kFull || vector < a.vectors) {
        float p[kVectorWidth], q[kVectorWidth], b[kVectorWidth];
        unpack(x[v], p);
        unpack(residual[v], q);
        unpack(kInner ? zeroVector<T>() : bias[vector], b);
        if constexpr (Embedding) {
#pragma unroll
          for (int i = 0; i < kVectorWidth; ++i) p[i] = __fadd_rn(__fadd_rn(p[i], q[i]), b[i]);
        } else if (a.key.threshold != 0) {
          bool keeps[kVectorWidth];
          dropoutKeepsVector(random, static_cast<uint32_t>(vector), a.key.threshold, keeps);
#pragma unroll
          for (int i = 0; i < kVectorWidth; ++i)
            p[i] = keeps[i] ? __fmaf_rn(__fadd_rn(p[i], b[i]), a.key.scale, q[i]) : q[i];
        } else {
#pragma unroll
          for (int i = 0; i < kVectorWidth; ++i) p[i] = __fadd_rn(__fadd_rn(p[i], b[i]), q[i]);
        }
        // The statistics are those of the sum as it is saved, so that backward finds the same row.
        const Vector<T> packed = pack<T>(p);
        if (a.sum) store(a.sum, start + vector, packed);
        unpack(packed, sum + v * kVectorWidth);
#pragma unroll
        for (int i = 0; i < kVectorWidth; ++i) total = __fadd_rn(total, sum[v * kVectorWidth + i]);
      }
    }
    const auto [mean, rstd] = statisticsOf<T, V>(sum, total, a);
    if (lane == 0) {
      if (a.mean) a.mean[row] = mean;
      if (a.rstd) a.rstd[row] = rstd;
    }
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const int vector = v * 32 + lane;
      if (v < kFull || vector < a.vectors) {
        float g[kVectorWidth], b[kVectorWidth], y[kVectorWidth];
        unpack(scale[vector], g);
        unpack(shift[vector], b);
#pragma unroll
        for (int i = 0; i < kVectorWidth; ++i)
          y[i] = affine(normalized(sum[v * kVectorWidth + i], mean, rstd), __fadd_rn(g[i], a.offset), b[i]);
        if constexpr (Embedding) {
          bool keeps[kVectorWidth];
          dropoutKeepsVector(random, static_cast<uint32_t>(vector), a.key.threshold, keeps);
#pragma unroll
          for (int i = 0; i < kVectorWidth; ++i) y[i] = keeps[i] ? __fmul_rn(y[i], a.key.scale) : 0.0f;
        }
        store(a.y, static_cast<int64_t>(row) * a.yVectors + vector, pack<T>(y));
      }
    }
  }
}

template <class T, int V, Summed kSummed>
cudaError_t launchNormForward(const NormForward<T>& a, cudaStream_t stream) {
  const int processors = multiprocessors();
  if (processors == 0) return cudaErrorNoDevice;
  const int blocks = static_cast<int>(
      std::min<int64_t>(ceilDivide(a.tokens, kForwardWarps), int64_t{processors} * forwardBlocks(V)));
  const int parameters = kSummed == Summed::kNormedBranch ? 5 : 3;
  const size_t bytes = parameters * static_cast<size_t>(a.vectors) * sizeof(Vector<T>);
  normForwardKernel<T, V, kSummed><<<blocks, kForwardWarps * 32, bytes, stream>>>(a);
  return cudaGetLastError();
}

// Fills in what all have in common, and picks the kernel for the width. a.tokens must not be 0.
template <class T, Summed kSummed>
cudaError_t normForward(const GradcacheRows& rows, NormForward<T> a, cudaStream_t stream) {
  a.tokens = static_cast<int>(rows.tokens);
  a.vectors = static_cast<int>(rows.width / kVectorWidth);
  a.inverseWidth = 1.0f / static_cast<float>(rows.width);
  switch (ceilDivide(a.vectors, 32)) {
    case 1:
      return launchNormForward<T, 1, kSummed>(a, stream);
    case 2:
      return launchNormForward<T, 2, kSummed>(a, stream);
    case 3:
      return launchNormForward<T, 3, kSummed>(a, stream);
    case 4:
      return launchNormForward<T, 4, kSummed>(a, stream);
    case 5:
    case 6:
      return launchNormForward<T, 6, kSummed>(a, stream);
    default:
      return launchNormForward<T, 8, kSummed>(a, stream);
  }
}

}  // namespace gradcache::cuda
