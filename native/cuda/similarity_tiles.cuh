// Kernels that make a matrix in half precision of scores, a number of each: what the products that make
// gradients are taken of. A `Make` says what becomes of a tile (similarity_probabilities.cuh,
// similarity_sigmoid.cuh). It has, for the warps of a tile,
//
//   struct Lane                               what a lane keeps of its rows and columns
//   static constexpr bool kOfColumns          whether it reads a number for each column, from columnNumbers()
//   void begin(Lane&, tile, down)             before the tile is multiplied: loads what it needs of some rows
//   void make(Lane&, scores, numbers, columns, p)   p, [32] like a fragment's `numbers`; `columns` are the
//                                             numbers of the fragment's columns
//   void end(Lane&, scores, tile, down)       after the last fragment of some rows
#pragma once

#include "cuda/similarity_host.cuh"

namespace gradcache::cuda {

// What a kernel writes: numbers in half precision and, if not null, what their rounding loses, the same.
struct TileTarget {
  uint16_t *whole, *rest;
  int64_t stride;
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

// A fragment in half precision: packed[2 * k] of row g, packed[2 * k + 1] of row g + 8. Leaves in `p` what
// that loses, if kRest.
template <class Half, bool kRest>
__device__ __forceinline__ void pack(float (&p)[kFragmentNumbers], uint32_t (&packed)[16]) {
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    packed[i] = packHalves<Half>(p[2 * i], p[2 * i + 1]);
    if constexpr (kRest) {
      static_assert(std::is_same<Half, float16>::value, "bfloat16 has no rest");
      const float2 rounded = __half22float2(*reinterpret_cast<const __half2*>(&packed[i]));
      p[2 * i] -= rounded.x;
      p[2 * i + 1] -= rounded.y;
    }
  }
}

// Writes a fragment by the lane. `row` and `column` are those of the lane's first number.
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

// ---- kernels

constexpr int kStoreBytes = kFragmentRows * kFragmentColumns * 2;    // a fragment in half precision
constexpr size_t kColumnNumberBytes = kTileColumns * sizeof(float);  // of a warpgroup's tile
constexpr size_t kHopperTileBytes = hopper::kOperandBytes +
                                    hopper::kWarpgroups * (4 * 2 * kStoreBytes + kColumnNumberBytes) +
                                    hopper::kBarrierBytes;
constexpr size_t kPortableTileBytes = portable::kOperandBytes;
[[maybe_unused]] constexpr int kTileLag = 3;  // forEachTile; measured

template <class Half, bool kRest, class Make>
__global__ __launch_bounds__(hopper::kThreads, 1) void hopperTiles(
    const __grid_constant__ CUtensorMap rows, const __grid_constant__ CUtensorMap columns,
    const __grid_constant__ CUtensorMap whole, const __grid_constant__ CUtensorMap rest,
    const __grid_constant__ Scores scores, const __grid_constant__ Make make,
    const __grid_constant__ TileTarget target, int steps, int columnTiles) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t shared[];
  const int thread = static_cast<int>(threadIdx.x) - 128, lane = thread & 31, warpgroup = thread / 128;
  // Two fragments a warp: one is written while the other is filled.
  const uint32_t memory = sharedAddress(shared) + hopper::kOperandBytes + thread / 32 * 2 * kStoreBytes;
  uint8_t* const behind = shared + hopper::kOperandBytes + hopper::kWarpgroups * 4 * 2 * kStoreBytes;
  float* const columnNumbers = reinterpret_cast<float*>(behind + (warpgroup > 0 ? kColumnNumberBytes : 0));
  const int cluster = static_cast<int>(blockIdx.x) / hopper::kCluster;
  const int clusters = static_cast<int>(gridDim.x) / hopper::kCluster;
  // Where this lane's row of a matrix lies: matrices are rows 0 to 7 and 8 to 15 of one eight columns, then
  // of the next.
  const uint32_t matrixRow = (lane & 7) + (lane & 8), matrixPiece = lane / 16;
  const auto put = [&](const CUtensorMap* map, uint32_t buffer, const uint32_t(&packed)[16], bool uneven,
                       int column, int row) {
    if (lane == 0) hopper::waitForReads<1>();
    __syncwarp();
#pragma unroll
    for (int k = 0; k < 8; k += 2)
      kernels::cuda::storeMatrices(buffer + matrixRow * 128 + (((k + matrixPiece) ^ (matrixRow & 7)) << 4),
                                   packed[2 * k], packed[2 * k + 1], packed[2 * k + 2], packed[2 * k + 3]);
    hopper::publishToCopies();
    __syncwarp();
    if (lane == 0) {
      if (!uneven) hopper::storeTile(map, buffer, column, row);
      hopper::commitStores();
    }
  };
  LeftOut<WarpTile<1, 4>> leftOut;
  typename Make::Lane own;
  float2 loaded;
  hopper::forEachTile<Half>(
      &rows, &columns, scores.width, kTileLag, shared, behind + hopper::kWarpgroups * kColumnNumberBytes,
      TileWalk(steps, columnTiles, cluster, clusters),
      [&](const WarpTile<1, 4>& tile) {
        leftOut.load(scores, tile);
        make.begin(own, tile, 0);
        if constexpr (Make::kOfColumns)
          loaded = *reinterpret_cast<const float2*>(make.columnNumbers() + tile.column + thread % 128 * 2);
      },
      [&](const TileWalk&, const WarpTile<1, 4>& tile, float(&numbers)[128]) {
        if constexpr (Make::kOfColumns) {
          hopper::syncNamed(hopper::kWarpgroupBarrier + warpgroup,
                            128);  // all have used those of the tile before
          *reinterpret_cast<float2*>(columnNumbers + thread % 128 * 2) = loaded;
          hopper::syncNamed(hopper::kWarpgroupBarrier + warpgroup, 128);
        }
        leftOut.apply(scores, tile, numbers);
#pragma unroll
        for (int across = 0; across < 4; ++across) {
          float p[kFragmentNumbers];
          make.make(own, scores, numbers + across * kFragmentNumbers,
                    columnNumbers + across * kFragmentColumns, p);
          const int column = tile.column + across * kFragmentColumns;
          // The copy engine writes whole pieces of eight columns. Those of an edge within a piece are written
          // here, so that nothing beyond the edge is.
          const bool uneven = scores.columns % 8 != 0 && column < scores.columns &&
                              column + kFragmentColumns > scores.columns;
          uint32_t packed[16];
          pack<Half, kRest>(p, packed);
          if (uneven)
            storeFragment(scores, packed, tile.rowOf(0), tile.columnOf(across, 0), target.whole,
                          target.stride);
          put(&whole, memory + (kRest ? 0 : across % 2 * kStoreBytes), packed, uneven, column, tile.row);
          if constexpr (kRest) {
            pack<Half, false>(p, packed);
            if (uneven)
              storeFragment(scores, packed, tile.rowOf(0), tile.columnOf(across, 0), target.rest,
                            target.stride);
            put(&rest, memory + kStoreBytes, packed, uneven, column, tile.row);
          }
        }
        make.end(own, scores, tile, 0);
      });
  // A block's shared memory must outlive its copies.
  if (thread >= 0 && lane == 0) hopper::waitForStores();
#endif
}

template <class Half, bool kRest, class Make>
__global__ __launch_bounds__(portable::kThreads, 1) void portableTiles(const portable::Operands operands,
                                                                       const Scores scores, const Make make,
                                                                       const TileTarget target, int steps,
                                                                       int columnTiles) {
  extern __shared__ __align__(1024) uint8_t shared[];
  portable::forEachTile<Half>(
      operands, scores, shared,
      TileWalk(steps, columnTiles, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x)),
      [&](const TileWalk&, const portable::Tile& tile, float(&numbers)[portable::Tile::kNumbers]) {
        LeftOut<portable::Tile> leftOut;
        leftOut.load(scores, tile);
        leftOut.apply(scores, tile, numbers);
#pragma unroll
        for (int down = 0; down < portable::Tile::kDown; ++down) {
          typename Make::Lane own;
          make.begin(own, tile, down);
          float p[kFragmentNumbers];
          make.make(own, scores, numbers + portable::Tile::fragment(down, 0),
                    Make::kOfColumns ? make.columnNumbers() + tile.column : nullptr, p);
          uint32_t packed[16];
          pack<Half, kRest>(p, packed);
          storeFragment(scores, packed, tile.rowOf(down), tile.columnOf(0, 0), target.whole, target.stride);
          if constexpr (kRest) {
            pack<Half, false>(p, packed);
            storeFragment(scores, packed, tile.rowOf(down), tile.columnOf(0, 0), target.rest, target.stride);
          }
          make.end(own, scores, tile, down);
        }
      });
}

// ---- launches

// A matrix to be written as TileTarget says.
inline cudaError_t checkTarget(const GradcacheScores* s, const void* whole, const void* rest,
                               int64_t stride) {
  if (cudaError_t code = checkAligned(whole, rest)) return code;
  const bool valid = stride >= s->columnCount && stride % 8 == 0 && (!rest || s->type == GRADCACHE_FLOAT16);
  return valid ? cudaSuccess : cudaErrorInvalidValue;
}

template <class Half, bool kRest, class Make>
cudaError_t launchTiles(const GradcacheScores& s, const Scores& scores, const Make& make,
                        const TileTarget& target) {
  const auto stream = static_cast<cudaStream_t>(s.stream);
  const int columnTiles = static_cast<int>(ceilDivide(s.columnCount, kTileColumns));
  if (onHopper()) {
    const auto kernel = &hopperTiles<Half, kRest, Make>;
    const void* const address = reinterpret_cast<const void*>(kernel);
    CUtensorMap rows, columns, whole, rest;
    int clusters = 0;
    cudaError_t code = allowSharedMemory(address, kHopperTileBytes);
    if (code == cudaSuccess) code = hopper::residentClusters(address, kHopperTileBytes, &clusters);
    if (code == cudaSuccess) code = hopper::describeOperands(&rows, &columns, s);
    if (code == cudaSuccess)
      code = hopper::describeMatrix(&whole, s.type, target.whole, s.rowCount, s.columnCount, target.stride,
                                    kFragmentRows, kFragmentColumns);
    rest = whole;
    if (code == cudaSuccess && kRest)
      code = hopper::describeMatrix(&rest, s.type, target.rest, s.rowCount, s.columnCount, target.stride,
                                    kFragmentRows, kFragmentColumns);
    if (code != cudaSuccess) return code;
    const int steps = static_cast<int>(ceilDivide(s.rowCount, kTileRows * hopper::kCluster));
    return launchClusters(kernel, static_cast<int>(std::min<int64_t>(int64_t{steps} * columnTiles, clusters)),
                          kHopperTileBytes, stream, rows, columns, whole, rest, scores, make, target, steps,
                          columnTiles);
  }
  const auto kernel = &portableTiles<Half, kRest, Make>;
  if (cudaError_t code = allowSharedMemory(reinterpret_cast<const void*>(kernel), kPortableTileBytes))
    return code;
  const int steps = static_cast<int>(ceilDivide(s.rowCount, kTileRows));
  const int64_t blocks = std::min<int64_t>(int64_t{steps} * columnTiles, multiprocessors());
  const portable::Operands operands{s.rows, s.columns, s.rowStride, s.columnStride};
  kernel<<<static_cast<unsigned>(blocks), portable::kThreads, kPortableTileBytes, stream>>>(
      operands, scores, make, target, steps, columnTiles);
  return cudaGetLastError();
}

// For the type of the operands, with what rounding loses where that is asked for.
template <class Make>
cudaError_t launchTiles(const GradcacheScores& s, const Scores& scores, const Make& make, void* whole,
                        void* rest, int64_t stride) {
  const TileTarget target{static_cast<uint16_t*>(whole), static_cast<uint16_t*>(rest), stride};
  if (s.type == GRADCACHE_BFLOAT16) return launchTiles<bfloat16, false>(s, scores, make, target);
  return rest ? launchTiles<float16, true>(s, scores, make, target)
              : launchTiles<float16, false>(s, scores, make, target);
}

}  // namespace gradcache::cuda
