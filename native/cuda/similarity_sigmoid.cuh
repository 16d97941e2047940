// Sigmoids of scores, weight / (1 + e^-z) with z = score + bias, and sums of log(1 + e^z) over rows. A `Make`
// of similarity_tiles.cuh.
#pragma once

#include "cuda/similarity_tiles.cuh"

namespace gradcache::cuda {

// log2(1 + e) for e from 0 to 1, small ones with all of their places.
__device__ __forceinline__ float logOfOneAnd(float e) {
  constexpr float kLog2E = 1.44269504088896341f;
  const float series = e * kLog2E * (1 - e * (1.0f / 2 - e * (1.0f / 3 - e * (1.0f / 4))));
  return e < 0x1p-5f ? series : __log2f(1 + e);
}

struct Sigmoids {
  static constexpr bool kOfColumns = false;

  struct Lane {
    float losses[2], sums[2];
  };

  float bias, weight;    // bias in powers of two
  float *losses, *sums;  // [pieces of a row of tiles, stride], of what the warps of a piece have seen
  int stride;

  __device__ __forceinline__ const float* columnNumbers() const { return nullptr; }

  template <class Tile>
  __device__ __forceinline__ void begin(Lane& lane, const Tile&, int) const {
    lane.losses[0] = lane.losses[1] = lane.sums[0] = lane.sums[1] = 0;
  }

  __device__ __forceinline__ void make(Lane& lane, const Scores& scores, const float* numbers, const float*,
                                       float (&p)[kFragmentNumbers]) const {
#pragma unroll
    for (int i = 0; i < kFragmentNumbers; ++i) {
      const float z = fmaf(numbers[i], scores.factor, bias), e = powerOfTwo(-fabsf(z));
      const float greater = __fdividef(weight, 1 + e);  // of z and -z
      p[i] = z >= 0 ? greater : e * greater;
      lane.losses[i / 2 % 2] += fmaxf(z, 0) + logOfOneAnd(e);
      lane.sums[i / 2 % 2] += p[i];
    }
  }

  // The four lanes of a row add up their parts, and the first of them leaves the warp's.
  template <class Tile>
  __device__ __forceinline__ void end(Lane& lane, const Scores&, const Tile& tile, int down) const {
    const int64_t piece = tile.column / (Tile::kAcross * kFragmentColumns);
#pragma unroll
    for (int low = 0; low < 2; ++low) {
#pragma unroll
      for (int distance = 1; distance <= 2; distance *= 2) {
        lane.losses[low] += __shfl_xor_sync(0xffffffffu, lane.losses[low], distance);
        lane.sums[low] += __shfl_xor_sync(0xffffffffu, lane.sums[low], distance);
      }
      if ((threadIdx.x & 3) != 0) continue;
      const int64_t place = piece * stride + tile.rowOf(down) + low * 8;
      losses[place] = lane.losses[low];
      sums[place] = lane.sums[low];
    }
  }
};

}  // namespace gradcache::cuda
