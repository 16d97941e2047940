// Probabilities of scores: 2^(score - row's normalizer) + 2^(score - column's normalizer). A `Make` of
// similarity_tiles.cuh.
#pragma once

#include "cuda/similarity_tiles.cuh"

namespace gradcache::cuda {

// Of rows or columns, up to whole tiles: their normalizers, and 2^(reference - normalizer). With the latter,
// one exponential from the common reference serves the row's and the column's probability. What lies outside
// has no weight.
struct Weights {
  const float *normalizers, *powers;
};

template <bool kBoth>
struct Probabilities {
  static constexpr bool kOfColumns = kBoth;

  struct Lane {
    float rows[2];
    bool apart;
  };

  Weights rows, columns;
  const int* apart;  // not 0: some normalizer is too far from the reference for powers

  __device__ __forceinline__ bool usesPowers() const { return kBoth && __ldg(apart) == 0; }
  __device__ __forceinline__ const float* columnNumbers() const {
    return usesPowers() ? columns.powers : columns.normalizers;
  }

  template <class Tile>
  __device__ __forceinline__ void begin(Lane& lane, const Tile& tile, int down) const {
    const bool powers = usesPowers();
    const float* const numbers = powers ? rows.powers : rows.normalizers;
    lane.rows[0] = numbers[tile.rowOf(down)];
    lane.rows[1] = numbers[tile.rowOf(down) + 8];
    lane.apart = !powers;
  }

  __device__ __forceinline__ void make(Lane& lane, const Scores& scores, const float* numbers,
                                       const float* ofColumns, float (&p)[kFragmentNumbers]) const {
    if constexpr (!kBoth) {
#pragma unroll
      for (int i = 0; i < kFragmentNumbers; ++i)
        p[i] = powerOfTwo(fmaf(numbers[i], scores.factor, -lane.rows[i / 2 % 2]));
    } else if (lane.apart) {  // an exponential for each normalizer
      ofBoth(ofColumns, [&](int i, float column) {
        p[i] = powerOfTwo(fmaf(numbers[i], scores.factor, -lane.rows[i / 2 % 2])) +
               powerOfTwo(fmaf(numbers[i], scores.factor, -column));
      });
    } else {
      ofBoth(ofColumns, [&](int i, float column) {
        p[i] =
            powerOfTwo(fmaf(numbers[i], scores.factor, -scores.reference)) * (lane.rows[i / 2 % 2] + column);
      });
    }
  }

  template <class Tile>
  __device__ __forceinline__ void end(Lane&, const Scores&, const Tile&, int) const {}

 private:
  template <class Each>
  __device__ __forceinline__ static void ofBoth(const float* ofColumns, Each each) {
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const float2 two = *reinterpret_cast<const float2*>(ofColumns + 8 * k + (threadIdx.x & 3) * 2);
#pragma unroll
      for (int e = 0; e < 4; ++e) each(4 * k + e, e % 2 ? two.y : two.x);
    }
  }
};

}  // namespace gradcache::cuda
