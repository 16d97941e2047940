// What the probability kernels do with a tile: 2^(score - row's normalizer) + 2^(score - column's
// normalizer), in half precision.
#pragma once

#include "cuda/similarity.cuh"

namespace gradcache::cuda {

// Of rows or columns, up to whole tiles: their normalizers, and 2^(reference - normalizer). With the latter,
// one exponential from the common reference serves the row's and the column's probability. What lies outside
// has no weight.
struct Weights {
  const float *normalizers, *powers;
};

struct ProbabilityWeights {
  Weights rows, columns;
  const int* apart;  // not 0: some normalizer is too far from the reference for powers
};

template <class Half>
__device__ __forceinline__ uint32_t packHalves(float low, float high) {
  if constexpr (std::is_same<Half, bfloat16>::value) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  } else {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
}

// Turns a fragment's scores into probabilities, packed: packed[2 * k] of row g, packed[2 * k + 1] of row g
// + 8. `rows` are the weights of the two rows and `columns` those of the fragment's columns: normalizers
// where kApart or not kBoth, powers else. kApart: an exponential for each normalizer.
template <class Half, bool kBoth, bool kApart>
__device__ __forceinline__ void probabilitiesOf(const Scores& scores, const float* numbers,
                                                const float (&rows)[2], const float* columns,
                                                uint32_t (&packed)[16]) {
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    const float* const four = numbers + 4 * k;
    float p[4];
    if constexpr (!kBoth) {
#pragma unroll
      for (int e = 0; e < 4; ++e) p[e] = powerOfTwo(fmaf(four[e], scores.factor, -rows[e / 2]));
    } else {
      const float2 two = *reinterpret_cast<const float2*>(columns + 8 * k + (threadIdx.x & 3) * 2);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float column = e % 2 ? two.y : two.x;
        if constexpr (kApart)
          p[e] = powerOfTwo(fmaf(four[e], scores.factor, -rows[e / 2])) +
                 powerOfTwo(fmaf(four[e], scores.factor, -column));
        else
          p[e] = powerOfTwo(fmaf(four[e], scores.factor, -scores.reference)) * (rows[e / 2] + column);
      }
    }
    packed[2 * k] = packHalves<Half>(p[0], p[1]);
    packed[2 * k + 1] = packHalves<Half>(p[2], p[3]);
  }
}

template <class Half, bool kBoth>
__device__ __forceinline__ void probabilitiesOf(const Scores& scores, bool apart, const float* numbers,
                                                const float (&rows)[2], const float* columns,
                                                uint32_t (&packed)[16]) {
  if (kBoth && apart)
    probabilitiesOf<Half, kBoth, true>(scores, numbers, rows, columns, packed);
  else
    probabilitiesOf<Half, kBoth, false>(scores, numbers, rows, columns, packed);
}

// Writes a fragment's probabilities by the lane. `row` and `column` are those of the lane's first number.
__device__ __forceinline__ void storeFragment(const Scores& scores, const uint32_t (&packed)[16], int row,
                                              int column, uint16_t* target, int64_t stride) {
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    const int r = row + i % 2 * 8, c = column + i / 2 * 8;
    if (r >= scores.rows || c >= scores.columns) continue;
    uint16_t* const place = target + r * stride + c;
    if (c + 1 < scores.columns)
      *reinterpret_cast<uint32_t*>(place) = packed[i];
    else
      *place = static_cast<uint16_t>(packed[i]);
  }
}

}  // namespace gradcache::cuda
