// What the two passes of the recurrence share: which columns a warp has, and how their tokens come in.
//
// The time steps of a column depend on one another, so a warp keeps to some columns of a sequence and walks
// over its tokens. So few threads must have many tokens on their way to reach the memory's rate: a ring in
// shared memory is filled dozens of tokens ahead. Each warp is a block and has a ring of its own; nothing
// waits for another warp.
#pragma once

#include "cuda/common.cuh"

namespace gradcache::cuda {

constexpr int kLanes = 32;
constexpr float kLog2E = 1.44269504088896341f;
// Sequences whose parameter gradients are added up apart.
constexpr int kSequenceGroups = 256;

enum : int32_t { kForwards = 0, kReversed = 1, kBothWays = 2 };

// ---- the columns of a warp

// `Columns` neighbouring columns of each lane, in one direction.
struct ColumnTiles {
  int own, perWay, ways;  // columns of a direction, its tiles, directions

  static ColumnTiles of(const GradcacheRecurrence& r, int columns) {
    const int ways = r.direction == kBothWays ? 2 : 1;
    const int own = static_cast<int>(r.width) / ways;
    return {own, static_cast<int>(ceilDivide(own, kLanes * columns)), ways};
  }
  __host__ __device__ int count() const { return perWay * ways; }
};

struct Tile {
  int way, column;  // column: the tile's first, of its direction
  bool reversed;

  __device__ Tile(const ColumnTiles& tiles, int32_t direction, int number, int columns)
      : way(number / tiles.perWay),
        column(number % tiles.perWay * kLanes * columns),
        reversed(direction == kReversed || way == 1) {}
};

// Where few warps would have work with two columns a lane, each lane has one.
inline bool isNarrow(const GradcacheRecurrence& r, int64_t sequences) {
  return sequences * ColumnTiles::of(r, 2).count() < 2 * int64_t{multiprocessors()};
}

// ---- neighbouring columns as they lie in memory

template <class T, int Columns>
struct Packed;
template <>
struct Packed<bfloat16, 1> {
  using Bits = uint16_t;
};
template <>
struct Packed<bfloat16, 2> {
  using Bits = uint32_t;
};
template <>
struct Packed<float, 1> {
  using Bits = float;
};
template <>
struct Packed<float, 2> {
  using Bits = float2;
};

template <class T, int Columns>
__device__ __forceinline__ void readColumns(const void* source, float* values) {
  const auto bits = *static_cast<const typename Packed<T, Columns>::Bits*>(source);
  if constexpr (sizeof(T) == 2 && Columns == 1) {
    values[0] = __uint_as_float(static_cast<uint32_t>(bits) << 16);
  } else if constexpr (sizeof(T) == 2) {
    unpackPair(bits, values);
  } else if constexpr (Columns == 1) {
    values[0] = bits;
  } else {
    values[0] = bits.x;
    values[1] = bits.y;
  }
}

template <class T, int Columns>
__device__ __forceinline__ void writeColumns(T* target, const float* values) {
  typename Packed<T, Columns>::Bits bits;
  if constexpr (sizeof(T) == 2 && Columns == 1) {
    bits = __bfloat16_as_ushort(__float2bfloat16_rn(values[0]));
  } else if constexpr (sizeof(T) == 2) {
    bits = packPair(values[0], values[1]);
  } else if constexpr (Columns == 1) {
    bits = values[0];
  } else {
    bits = make_float2(values[0], values[1]);
  }
  *reinterpret_cast<typename Packed<T, Columns>::Bits*>(target) = bits;
}

// ---- arithmetic

// 1 / (1 + 2^x): sigmoid(y) for x = -y log2(e). Within 3 units in the last place.
__device__ __forceinline__ float sigmoidOfPower(float x) {
  float power, result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(1.0f + power));
  return result;
}
__device__ __forceinline__ float hyperbolicTangent(float x) {
  return fmaf(2.0f, sigmoidOfPower(-2.0f * kLog2E * x), -1.0f);
}

// What belongs to a lane's columns of a gate: sigmoid(u + weight * cell + bias).
template <int Columns>
struct Gate {
  float weight[Columns], scaledWeight[Columns], scaledBias[Columns];

  template <class T>
  __device__ __forceinline__ void read(const T* weights, const T* bias) {
    float b[Columns];
#pragma unroll
    for (int v = 0; v < Columns; ++v) weight[v] = b[v] = 0;
    if (weights) readColumns<T, Columns>(weights, weight);
    if (bias) readColumns<T, Columns>(bias, b);
#pragma unroll
    for (int v = 0; v < Columns; ++v) {
      scaledWeight[v] = -kLog2E * weight[v];
      scaledBias[v] = -kLog2E * b[v];
    }
  }
  __device__ __forceinline__ float open(float u, float cell, int v) const {
    return sigmoidOfPower(fmaf(scaledWeight[v], cell, fmaf(-kLog2E, u, scaledBias[v])));
  }
};

// The mask's factors of a lane's columns; `column` is the first of them.
template <int Columns>
__device__ __forceinline__ void maskFactors(const DropoutKey& key, int64_t row, int column, float* factors) {
  const uint32_t bits =
      dropoutPair(dropoutRow(key, static_cast<uint32_t>(row)), static_cast<uint32_t>(column) >> 1);
#pragma unroll
  for (int v = 0; v < Columns; ++v) {
    const bool high = Columns == 1 ? column & 1 : v == 1;
    factors[v] = (high ? bits >> 16 : bits & 0xffffu) >= key.threshold ? key.scale : 0.0f;
  }
}

// ---- the ring

// Rows of `Arrays` arrays, a lane's `Columns` columns of each, for the tokens that come next. A stage is
// `Steps` tokens.
template <class T, int Columns, int Arrays, int Steps, int Stages>
class TokenRing {
 public:
  static constexpr int kSteps = Steps;
  static constexpr int kRowBytes = kLanes * Columns * static_cast<int>(sizeof(T));
  static constexpr int kStageBytes = Steps * Arrays * kRowBytes;
  static constexpr int kBytes = Stages * kStageBytes;

  // `memory` is kBytes of shared memory, `columns` how many of the tile's columns there are, `count` the
  // number of tokens. An array is set up before the first fill.
  __device__ __forceinline__ TokenRing(unsigned char* memory, int columns, int count)
      : memory_(memory), lane_(static_cast<int>(threadIdx.x)), columns_(columns), count_(count) {}

  // `first` is the array's row of the first token, at the tile's first column; `stride` leads to the row of
  // the next, in elements. The last `fewer` tokens have no row of it.
  __device__ __forceinline__ void add(int array, const T* first, int64_t stride, int fewer = 0) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      if (arrayOf(i) != array) continue;
      source_[i] = reinterpret_cast<const unsigned char*>(first + stepOf(i) * stride) + pieceOf(i) * kPiece;
      advance_[i] = stride * Steps * static_cast<int64_t>(sizeof(T));
      const bool inside =
          placeOf(i) < kPieces && pieceOf(i) * kPiece < columns_ * static_cast<int>(sizeof(T));
      limit_[i] = inside ? count_ - fewer - stepOf(i) : 0;
    }
  }

  // Begins to load the stages that fit. Every lane takes part in all that follows.
  __device__ __forceinline__ void begin() {
    for (int stage = 0; stage < Stages - 1; ++stage) fill();
  }
  // Waits for the next stage, and begins to load one more. May be called beyond the last.
  __device__ __forceinline__ void advance() {
    asm volatile("cp.async.wait_group %0;" ::"n"(Stages - 2) : "memory");
    __syncwarp();
    stage_ = memory_ + taken_ % Stages * kStageBytes;
    ++taken_;
    fill();
  }
  // All loads have ended, and the ring may be used by another.
  __device__ __forceinline__ void end() {
    asm volatile("cp.async.wait_all;" ::: "memory");
    __syncwarp();
  }
  // A lane's columns of all tokens of the current stage, as they lie in memory; rows beyond the last token
  // hold anything. Read whole before anything is computed, so that no step waits for shared memory.
  struct Rows {
    typename Packed<T, Columns>::Bits bits[Steps][Arrays];

    __device__ __forceinline__ void unpack(int step, int array, float* values) const {
      readColumns<T, Columns>(&bits[step][array], values);
    }
  };
  __device__ __forceinline__ void read(Rows& rows) const {
    using Bits = typename Packed<T, Columns>::Bits;
#pragma unroll
    for (int step = 0; step < Steps; ++step) {
#pragma unroll
      for (int array = 0; array < Arrays; ++array) {
        rows.bits[step][array] =
            reinterpret_cast<const Bits*>(stage_ + (step * Arrays + array) * kRowBytes)[lane_];
      }
    }
  }

 private:
  static constexpr int kPiece = 16;  // bytes of a load
  static constexpr int kRowPieces = kRowBytes / kPiece;
  static constexpr int kPieces = Steps * Arrays * kRowPieces;
  static constexpr int kLoads = (kPieces + kLanes - 1) / kLanes;

  __device__ __forceinline__ int placeOf(int i) const { return i * kLanes + lane_; }
  __device__ __forceinline__ int stepOf(int i) const { return placeOf(i) / (Arrays * kRowPieces); }
  __device__ __forceinline__ int arrayOf(int i) const { return placeOf(i) / kRowPieces % Arrays; }
  __device__ __forceinline__ int pieceOf(int i) const { return placeOf(i) % kRowPieces; }

  // One group of loads, empty where the tokens have ended, so that groups can be counted.
  __device__ __forceinline__ void fill() {
    const unsigned target =
        static_cast<unsigned>(__cvta_generic_to_shared(memory_ + filled_ % Stages * kStageBytes));
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      if (filled_ * Steps < limit_[i]) {
        asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(
                         target + static_cast<unsigned>(placeOf(i) * kPiece)),
                     "l"(source_[i])
                     : "memory");
      }
      source_[i] += advance_[i];
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
    ++filled_;
  }

  unsigned char* memory_;
  const unsigned char* stage_ = nullptr;
  int lane_, columns_, count_, filled_ = 0, taken_ = 0;
  const unsigned char* source_[kLoads];
  int64_t advance_[kLoads];
  int limit_[kLoads];  // a load is made while the stage's first token is below
};

// As many tokens ahead as the memory's latency takes: about 32 with two columns a lane, 64 with one.
template <class T, int Columns, int Arrays>
using RecurrenceRing = TokenRing<T, Columns, Arrays, Columns == 1 ? 8 : 4, 8>;

// Calls launch(T{}, columns, arrays) with the type, the columns of a lane and the arrays of the forward (the
// blocks of u, and the skip) as compile-time values.
template <class Launch>
cudaError_t withRecurrence(const GradcacheRecurrence& r, bool narrow, Launch&& launch) {
  const int arrays = r.projections + (r.skip ? 1 : 0);
  return withType(r.type, [&](auto type) {
    const auto withColumns = [&](auto columns) {
      if (arrays == 2) return launch(type, columns, std::integral_constant<int, 2>{});
      if (arrays == 3) return launch(type, columns, std::integral_constant<int, 3>{});
      return launch(type, columns, std::integral_constant<int, 4>{});
    };
    return narrow ? withColumns(std::integral_constant<int, 1>{})
                  : withColumns(std::integral_constant<int, 2>{});
  });
}

// Gates of a recurrence: forget, and reset from three projections on.
inline int gatesOf(const GradcacheRecurrence& r) { return r.projections > 2 ? 2 : 1; }

inline cudaError_t checkRecurrence(const GradcacheRecurrence* r) {
  const bool known = r && (r->type == GRADCACHE_FLOAT32 || r->type == GRADCACHE_BFLOAT16) &&
                     r->projections >= 2 && r->projections <= 4 && r->direction >= kForwards &&
                     r->direction <= kBothWays;
  if (!known) return cudaErrorInvalidValue;
  const int64_t own = r->direction == kBothWays ? r->width / 2 : r->width;
  const bool whole = r->direction != kBothWays || r->width % 2 == 0;
  const bool valid = r->tokens >= 0 && r->tokens <= kMostTokens && r->sequences >= 0 && r->width > 0 &&
                     r->width <= kMostTokens && whole && own % kVectorWidth == 0 &&
                     (!r->skip || r->projections == 3);
  if (!valid) return cudaErrorInvalidValue;
  return checkAligned(r->u, r->skip, r->cellWeights, r->bias, r->state);
}

}  // namespace gradcache::cuda
