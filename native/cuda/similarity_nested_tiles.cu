// Tiles of what the gradient of a softmax at several lengths is multiplied by, in one sweep: dL/d(dot
// product) of the first numbers of two rows. A tile goes with the numbers that no shorter one has, so that
// two neighbouring lengths make their sum, for the numbers of the shorter, and the longer one's alone for the
// rest.
#include "cuda/similarity_nested.cuh"
#include "cuda/similarity_tiles.cuh"

namespace gradcache::cuda {

namespace {

// What a lane reads of a row at a length: what a dot product is multiplied by, and what makes a gradient of
// an exponential. Of a softmax over rows alone `power` is a normalizer, less the logarithm of the weight.
struct RowNumbers {
  float factor, power, weight, unused;
};

// Of a column: its factor, and the power of two that its normalizer is below the reference.
struct ColumnNumbers {
  float factor, power;
};

struct NestedTiles {
  const RowNumbers* rows;         // [lengths, rowStride]
  const ColumnNumbers* columns;   // [lengths, columnStride]
  float *rowTurns, *columnTurns;  // [columnTiles, lengths, rowStride]; [64 rows each, lengths, columnStride]
  int64_t rowStride, columnStride;
  int tileRows;     // a tile begins that many rows below the one before
  uint32_t joined;  // GradcacheLengths
};

// A warp writes its part of a tile in one piece, and makes the next while the copy engine reads that. So
// there is memory for three stages of operands.
constexpr int kNestedStages = 3;
constexpr size_t kNestedOperandBytes = kNestedStages * hopper::kStageBytes;
constexpr int kPartBytes = 4 * kStoreBytes;                                 // of a warp
constexpr size_t kMeetingBytes = 4 * kTileColumns * sizeof(float);          // of a warpgroup
constexpr size_t kColumnsBytes = 2 * kTileColumns * sizeof(ColumnNumbers);  // the same: of two lengths
constexpr size_t kNestedTileBytes = kNestedOperandBytes + hopper::kWarpgroups * 4 * kPartBytes +
                                    hopper::kWarpgroups * (kMeetingBytes + kColumnsBytes) +
                                    hopper::kBarrierBytes;
static_assert(kNestedTileBytes <= 227 * 1024, "more shared memory than a block has");

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// What the lanes of a warpgroup make of its tile's numbers.
template <class Half, bool kBoth>
struct NestedLane {
  float reference;
  float* meeting;
  uint32_t part;  // memory of the warp's part of a tile
  int warp, lane, member;
  RowNumbers rows[2];

  __device__ __forceinline__ static float4 columnsAt(const ColumnNumbers* columns, int across, int k) {
    return *reinterpret_cast<const float4*>(columns + across * kFragmentColumns + k * 8 +
                                            static_cast<int>(threadIdx.x & 3) * 2);
  }

  // dL/d(cosine).
  __device__ __forceinline__ float gradient(float cosine, int low, float ofColumn) const {
    if constexpr (kBoth)
      return powerOfTwo(fmaf(cosine, rows[low].factor, -reference)) *
             fmaf(ofColumn, rows[low].weight, rows[low].power);
    else
      return powerOfTwo(fmaf(cosine, rows[low].factor, -rows[low].power));
  }

  // A fragment's numbers, to be written; if kTurns, what they turn rows by is added to `turns`, and columns
  // to `v`.
  template <bool kTurns>
  __device__ __forceinline__ void make(const float* numbers, const ColumnNumbers* columns, int across,
                                       uint32_t (&packed)[16], float (&turns)[2], float (&v)[16]) const {
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const float4 two = columnsAt(columns, across, k);
      float g[4], turned[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float factor = e % 2 ? two.z : two.x, cosine = numbers[4 * k + e] * factor;
        const float ofCosine = gradient(cosine, e / 2, e % 2 ? two.w : two.y);
        g[e] = ofCosine * factor;
        if constexpr (kTurns) {
          turned[e] = ofCosine * cosine;
          turns[e / 2] += turned[e];
        }
      }
      packed[2 * k] = packHalves<Half>(g[0], g[1]);
      packed[2 * k + 1] = packHalves<Half>(g[2], g[3]);
      if constexpr (kTurns) {
        v[2 * k] = turned[0] + turned[2];
        v[2 * k + 1] = turned[1] + turned[3];
      }
    }
  }

  // Before the first fragment of a length: the copy engine has read the part of the one before.
  __device__ __forceinline__ void beginPart() const {
    if (lane == 0) hopper::waitForReads<0>();
    __syncwarp();
  }
  __device__ __forceinline__ void put(const uint32_t (&packed)[16], int across) const {
    // Matrices are rows 0 to 7 and 8 to 15 of one eight columns, then of the next.
    const uint32_t matrixRow = (lane & 7) + (lane & 8), matrixPiece = lane / 16;
    const uint32_t place = part + across * kStoreBytes + matrixRow * 128;
#pragma unroll
    for (int k = 0; k < 8; k += 2)
      kernels::cuda::storeMatrices(place + (((k + matrixPiece) ^ (matrixRow & 7)) << 4), packed[2 * k],
                                   packed[2 * k + 1], packed[2 * k + 2], packed[2 * k + 3]);
  }
  // Writes the part to the tile at `row`, and adds it to the one at `sumRow`, if not negative, once all that
  // was written before is there.
  __device__ __forceinline__ void endPart(const CUtensorMap* tiles, int column, int row, int sumRow) const {
    hopper::publishToCopies();
    __syncwarp();
    if (lane > 0) return;
    if (sumRow >= 0) hopper::waitForStores();
#pragma unroll
    for (int across = 0; across < 4; ++across) {
      const uint32_t fragment = part + across * kStoreBytes;
      hopper::storeTile(tiles, fragment, column + across * kFragmentColumns, row);
      if (sumRow >= 0) hopper::addTile(tiles, fragment, column + across * kFragmentColumns, sumRow);
    }
    hopper::commitStores();
  }

  // All fragments of a length.
  __device__ __forceinline__ void makeAll(const float (&numbers)[128], const ColumnNumbers* columns) const {
    beginPart();
#pragma unroll
    for (int across = 0; across < 4; ++across) {
      uint32_t packed[16];
      float none[16], turns[2];
      make<false>(numbers + across * kFragmentNumbers, columns, across, packed, turns, none);
      put(packed, across);
    }
  }

  // The same of a joined length, and what its numbers turn rows and columns by.
  __device__ __forceinline__ void makeAllWithTurns(const float (&numbers)[128], const ColumnNumbers* columns,
                                                   int warpgroup, float* rowTurns, float* columnTurns) const {
    beginPart();
    float turns[2] = {0, 0};
#pragma unroll
    for (int across = 0; across < 4; ++across) {
      float v[16];
      uint32_t packed[16];
      make<true>(numbers + across * kFragmentNumbers, columns, across, packed, turns, v);
      put(packed, across);
      hopper::bringSums(v, warp, lane, across, meeting);
    }
#pragma unroll
    for (int low = 0; low < 2; ++low) {
      const float sum = hopper::overRow(turns[low]);
      if (lane % 4 == 0) rowTurns[low * 8] = sum;
    }
    hopper::writeSums(meeting, warpgroup, member, columnTurns);
  }
};

#endif

template <class Half, bool kBoth>
__global__ __launch_bounds__(hopper::kThreads, 1) void nestedTiles(
    const __grid_constant__ CUtensorMap rows, const __grid_constant__ CUtensorMap columns,
    const __grid_constant__ CUtensorMap tiles, const __grid_constant__ Scores scores,
    const __grid_constant__ Lengths lengths, const __grid_constant__ NestedTiles of, int steps,
    int columnTiles) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t shared[];
  const int thread = static_cast<int>(threadIdx.x) - 128, warpgroup = thread / 128, member = thread % 128;
  const uint32_t parts = sharedAddress(shared) + kNestedOperandBytes;
  uint8_t* const meetings = shared + kNestedOperandBytes + hopper::kWarpgroups * 4 * kPartBytes;
  uint8_t* const behind = meetings + hopper::kWarpgroups * kMeetingBytes;
  ColumnNumbers* const columnNumbers =
      reinterpret_cast<ColumnNumbers*>(behind + (warpgroup > 0 ? kColumnsBytes : 0));
  const int cluster = static_cast<int>(blockIdx.x) / hopper::kCluster;
  const int clusters = static_cast<int>(gridDim.x) / hopper::kCluster;
  const int rank = static_cast<int>(hopper::blockOfCluster());
  NestedLane<Half, kBoth> lane{scores.reference,
                               reinterpret_cast<float*>(meetings + (warpgroup > 0 ? kMeetingBytes : 0)),
                               parts + thread / 32 * kPartBytes,
                               thread / 32 % 4,
                               thread & 31,
                               member};
  LeftOut<WarpTile<1, 4>> leftOut;
  float4 loaded;
  bool other = false;  // which of two places has the numbers of a length's columns
  hopper::forEachLength<Half, kNestedStages>(
      &rows, &columns, lengths, shared, behind + hopper::kWarpgroups * kColumnsBytes,
      TileWalk(steps, columnTiles, cluster, clusters),
      [&](const WarpTile<1, 4>& tile) { leftOut.load(scores, tile); },
      [&](const WarpTile<1, 4>& tile, int length) {
        const float4* const all =
            reinterpret_cast<const float4*>(of.rows + length * of.rowStride + tile.rowOf(0));
#pragma unroll
        for (int low = 0; low < 2; ++low) {
          const float4 four = __ldg(all + low * 8);
          lane.rows[low] = {four.x, four.y, four.z, four.w};
        }
        loaded = __ldg(reinterpret_cast<const float4*>(of.columns + length * of.columnStride + tile.column +
                                                       member * 2));
      },
      [&](const TileWalk& walk, const WarpTile<1, 4>& tile, float(&numbers)[128], int length) {
        // What is overwritten was used before all met for the length before.
        other = !other;
        ColumnNumbers* const ofColumns = columnNumbers + (other ? kTileColumns : 0);
        *reinterpret_cast<float4*>(ofColumns + member * 2) = loaded;
        hopper::syncNamed(hopper::kWarpgroupBarrier + warpgroup, 128);
        if (length == 0) leftOut.apply(scores, tile, numbers, kNone);
        if (of.joined >> length & 1) {
          const int64_t part = (walk.step * hopper::kCluster + rank) * hopper::kWarpgroups + warpgroup;
          lane.makeAllWithTurns(
              numbers, ofColumns, warpgroup,
              of.rowTurns + (int64_t{walk.column} * lengths.count + length) * of.rowStride + tile.rowOf(0),
              of.columnTurns + (part * lengths.count + length) * of.columnStride + tile.column);
        } else {
          lane.makeAll(numbers, ofColumns);
        }
        const int row = tile.row + length * of.tileRows;
        const bool joins = length > 0 && (of.joined >> (length - 1) & 1);
        lane.endPart(&tiles, tile.column, row, joins ? row - of.tileRows : -1);
      });
  // A block's shared memory must outlive its copies.
  if (thread >= 0 && lane.lane == 0) hopper::waitForStores();
#endif
}

__global__ void prepareRows(const float* factors, int64_t factorStride, const float* normalizers,
                            int64_t normalizerStride, bool both, float factor, float reference,
                            GradcacheNestedWeights weights, int size, int64_t padded, RowNumbers* target) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  const unsigned length = blockIdx.y;
  if (i >= padded) return;
  RowNumbers& numbers = target[length * padded + i];
  if (i >= size) {
    numbers = {factor, both ? 0 : infinite(), 0, 0};
    return;
  }
  const float own = factors[length * factorStride + i], weight = own * weights.of[length];
  const float normalizer = normalizers[length * normalizerStride + i];
  numbers.factor = own * factor;
  numbers.power = both ? powerOfTwo(reference - normalizer) * weight
                       : (weight > 0 ? normalizer - log2f(weight) : infinite());
  numbers.weight = weight;
  numbers.unused = 0;
}

__global__ void prepareColumns(const float* factors, int64_t factorStride, const float* normalizers,
                               int64_t normalizerStride, float reference, int size, int64_t padded,
                               ColumnNumbers* target) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  const unsigned length = blockIdx.y;
  if (i >= padded) return;
  ColumnNumbers& numbers = target[length * padded + i];
  const bool inside = i < size;
  numbers.factor = inside ? factors[length * factorStride + i] : 1.0f;
  numbers.power =
      inside && normalizers ? powerOfTwo(reference - normalizers[length * normalizerStride + i]) : 0.0f;
}

struct Memory {
  RowNumbers* rowNumbers;
  ColumnNumbers* columnNumbers;
  NestedTiles of;
  int steps, columnTiles;
  size_t bytes;

  Memory(const GradcacheScores& s, int lengths, void* scratch) {
    Scratch memory{static_cast<uint8_t*>(scratch)};
    steps = static_cast<int>(ceilDivide(s.rowCount, kTileRows * hopper::kCluster));
    columnTiles = static_cast<int>(ceilDivide(s.columnCount, kTileColumns));
    of.rowStride = int64_t{steps} * kTileRows * hopper::kCluster;
    of.columnStride = int64_t{columnTiles} * kTileColumns;
    rowNumbers = memory.take<RowNumbers>(lengths * of.rowStride);
    columnNumbers = memory.take<ColumnNumbers>(lengths * of.columnStride);
    of.rowTurns = memory.take<float>(columnTiles * lengths * of.rowStride);
    of.columnTurns = memory.take<float>(parts() * lengths * of.columnStride);
    of.rows = rowNumbers;
    of.columns = columnNumbers;
    bytes = memory.next - static_cast<uint8_t*>(scratch);
  }
  int parts() const { return steps * hopper::kCluster * hopper::kWarpgroups; }
};

template <class Half, bool kBoth>
cudaError_t sweep(const GradcacheScores& s, const GradcacheLengths& l, const Scores& scores,
                  const Memory& memory, const NestedTiles& of, const CUtensorMap& rows,
                  const CUtensorMap& columns, const CUtensorMap& tiles) {
  const auto kernel = &nestedTiles<Half, kBoth>;
  const void* const address = reinterpret_cast<const void*>(kernel);
  int clusters = 0;
  cudaError_t code = allowSharedMemory(address, kNestedTileBytes);
  if (code == cudaSuccess) code = hopper::residentClusters(address, kNestedTileBytes, &clusters);
  if (code != cudaSuccess) return code;
  return launchClusters(kernel, std::min(memory.steps * memory.columnTiles, clusters), kNestedTileBytes,
                        static_cast<cudaStream_t>(s.stream), rows, columns, tiles, scores, lengthsOf(l), of,
                        memory.steps, memory.columnTiles);
}

cudaError_t makeTiles(const GradcacheScores& s, const GradcacheLengths& l, const GradcacheNested& n,
                      void* scratch) {
  const Memory memory(s, l.count, scratch);
  const Scores scores = scoresOf(s);
  const auto stream = static_cast<cudaStream_t>(s.stream);
  const bool both = n.columnNormalizers != nullptr;
  prepareRows<<<joinBlocks(memory.of.rowStride, l.count), kJoinThreads, 0, stream>>>(
      l.rowFactors, l.rowFactorStride, n.rowNormalizers, n.rowNormalizerStride, both, scores.factor,
      scores.reference, n.weights, scores.rows, memory.of.rowStride, memory.rowNumbers);
  prepareColumns<<<joinBlocks(memory.of.columnStride, l.count), kJoinThreads, 0, stream>>>(
      l.columnFactors, l.columnFactorStride, n.columnNormalizers, n.columnNormalizerStride, scores.reference,
      scores.columns, memory.of.columnStride, memory.columnNumbers);
  NestedTiles of = memory.of;
  of.tileRows = static_cast<int>(of.rowStride);
  of.joined = l.joined;
  CUtensorMap rows, columns, tiles;
  cudaError_t code = hopper::describeOperands(&rows, &columns, s);
  // Columns up to a whole piece of the copy engine are written, as zeros.
  if (code == cudaSuccess)
    code = hopper::describeMatrix(&tiles, s.type, n.tiles, l.count * of.rowStride,
                                  (s.columnCount + 7) / 8 * 8, n.stride, kFragmentRows, kFragmentColumns);
  if (code != cudaSuccess) return code;
  if (s.type == GRADCACHE_BFLOAT16)
    code = both ? sweep<bfloat16, true>(s, l, scores, memory, of, rows, columns, tiles)
                : sweep<bfloat16, false>(s, l, scores, memory, of, rows, columns, tiles);
  else
    code = both ? sweep<float16, true>(s, l, scores, memory, of, rows, columns, tiles)
                : sweep<float16, false>(s, l, scores, memory, of, rows, columns, tiles);
  if (code != cudaSuccess) return code;
  addParts<<<joinBlocks(scores.rows, l.count), kJoinThreads, 0, stream>>>(
      memory.of.rowTurns, memory.columnTiles, memory.of.rowStride, scores.rows, l.joined, n.rowTurns,
      n.rowTurnStride);
  addParts<<<joinBlocks(scores.columns, l.count), kJoinThreads, 0, stream>>>(
      memory.of.columnTurns, memory.parts(), memory.of.columnStride, scores.columns, l.joined, n.columnTurns,
      n.columnTurnStride);
  return cudaGetLastError();
}

cudaError_t checkNested(const GradcacheScores* s, const GradcacheLengths& l, const GradcacheNested& n) {
  if (cudaError_t code = checkScores(s)) return code;
  if (!takesLengths(*s, l)) return cudaErrorInvalidValue;
  // Neither the last nor two in a row.
  const bool apart = (l.joined & l.joined << 1) == 0 && l.joined >> (l.count - 1) == 0;
  const bool valid = apart && n.rowNormalizers && n.tiles && n.rowTurns && n.columnTurns &&
                     n.stride >= (s->columnCount + 7) / 8 * 8 && n.stride % 8 == 0 &&
                     (!n.columnNormalizers || s->bound * static_cast<float>(kLog2E) <= kMostBound);
  return valid ? checkAligned(n.tiles) : cudaErrorInvalidValue;
}

}  // namespace

}  // namespace gradcache::cuda

size_t gradcache_nested_tiles_scratch(const GradcacheScores* s, const GradcacheLengths* lengths) {
  using namespace gradcache::cuda;
  if (checkScores(s) != cudaSuccess || s->rowCount == 0 || s->columnCount == 0) return 0;
  return takesLengths(*s, *lengths) ? Memory(*s, lengths->count, nullptr).bytes : 0;
}

int gradcache_nested_tiles(const GradcacheScores* s, const GradcacheLengths* lengths,
                           const GradcacheNested* nested, void* scratch) {
  using namespace gradcache::cuda;
  cudaError_t code = checkNested(s, *lengths, *nested);
  if (code == cudaSuccess) code = checkAligned(scratch);
  if (code != cudaSuccess || s->rowCount == 0 || s->columnCount == 0) return code;
  return makeTiles(*s, *lengths, *nested, scratch);
}
