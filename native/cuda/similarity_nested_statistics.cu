// Sums of the exponentials of all scores of each row and each column, at several lengths in one sweep. All
// are taken from one reference.
#include "cuda/similarity_nested.cuh"

namespace gradcache::cuda {

namespace {

// What the kernel reads of factors, up to whole tiles, and where it leaves its parts of sums.
struct NestedStatistics {
  const float *rowFactors, *columnFactors;  // [lengths, rowStride], [lengths, columnStride]
  float* rows;                              // [ranges, lengths, rowStride]
  float* columns;                           // [parts, lengths, columnStride]; of 64 rows each; or null
  int64_t rowStride, columnStride;
};

constexpr size_t kRowSumBytes = kMostLengths * kTileRows * sizeof(float);
constexpr size_t kMeetingBytes = 4 * kTileColumns * sizeof(float);  // of a warpgroup
constexpr size_t kFactorBytes = 2 * kTileColumns * sizeof(float);   // of a warpgroup: of two lengths
constexpr size_t kStatisticsBytes = hopper::kOperandBytes + kRowSumBytes +
                                    hopper::kWarpgroups * (kMeetingBytes + kFactorBytes) +
                                    hopper::kBarrierBytes;

template <class Half, bool kWithColumns>
__global__ __launch_bounds__(hopper::kThreads, 1) void nestedStatistics(
    const __grid_constant__ CUtensorMap rows, const __grid_constant__ CUtensorMap columns,
    const __grid_constant__ Scores scores, const __grid_constant__ Lengths lengths,
    const __grid_constant__ StatisticsPlan plan, const __grid_constant__ NestedStatistics of) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t shared[];
  float* const rowSums = reinterpret_cast<float*>(shared + hopper::kOperandBytes);  // [lengths, 128]
  const int thread = static_cast<int>(threadIdx.x) - 128, warpgroup = thread / 128, warp = thread / 32 % 4;
  const int lane = thread & 31, member = thread % 128;
  uint8_t* const meetings = shared + hopper::kOperandBytes + kRowSumBytes;
  float* const meeting = reinterpret_cast<float*>(meetings + (warpgroup > 0 ? kMeetingBytes : 0));
  uint8_t* const behind = meetings + hopper::kWarpgroups * kMeetingBytes;
  float* const columnFactors = reinterpret_cast<float*>(behind + (warpgroup > 0 ? kFactorBytes : 0));
  const int cluster = static_cast<int>(blockIdx.x) / hopper::kCluster;
  const int clusters = static_cast<int>(gridDim.x) / hopper::kCluster;
  const int rank = static_cast<int>(hopper::blockOfCluster());
  LeftOut<WarpTile<1, 4>> leftOut;
  float rowFactors[2];
  float2 loaded;
  bool other = false;  // which of two places has the factors of a length's columns
  hopper::forEachLength<Half, hopper::kStages>(
      &rows, &columns, lengths, shared, behind + hopper::kWarpgroups * kFactorBytes,
      StatisticsWalk(plan, cluster, clusters),
      [&](const WarpTile<1, 4>& tile) { leftOut.load(scores, tile); },
      [&](const WarpTile<1, 4>& tile, int length) {
        const float* const factors = of.rowFactors + length * of.rowStride + tile.rowOf(0);
        rowFactors[0] = __ldg(factors);
        rowFactors[1] = __ldg(factors + 8);
        loaded = __ldg(reinterpret_cast<const float2*>(of.columnFactors + length * of.columnStride +
                                                       tile.column + member * 2));
      },
      [&](const StatisticsWalk& walk, const WarpTile<1, 4>& tile, float(&numbers)[128], int length) {
        if (length == 0) leftOut.apply(scores, tile, numbers, kNone);
        // What is overwritten was used before all met for the length before.
        other = !other;
        float* const factorsHere = columnFactors + (other ? kTileColumns : 0);
        *reinterpret_cast<float2*>(factorsHere + member * 2) = loaded;
        hopper::syncNamed(hopper::kWarpgroupBarrier + warpgroup, 128);
        const float factors[2] = {rowFactors[0] * scores.factor, rowFactors[1] * scores.factor};
        float sums[2] = {0, 0};
#pragma unroll
        for (int across = 0; across < 4; ++across) {
          float v[16];
#pragma unroll
          for (int k = 0; k < 8; ++k) {
            const float2 two = *reinterpret_cast<const float2*>(factorsHere + across * kFragmentColumns +
                                                                k * 8 + lane % 4 * 2);
            float powers[4];
#pragma unroll
            for (int e = 0; e < 4; ++e) {
              const float dot = numbers[across * kFragmentNumbers + 4 * k + e] * (e % 2 ? two.y : two.x);
              powers[e] = powerOfTwo(fmaf(dot, factors[e / 2], -scores.reference));
              sums[e / 2] += powers[e];
            }
            v[2 * k] = powers[0] + powers[2];
            v[2 * k + 1] = powers[1] + powers[3];
          }
          if (kWithColumns) hopper::bringSums(v, warp, lane, across, meeting);
        }
        const bool newRows = walk.column == walk.columnBegin, lastRows = walk.column + 1 == walk.columnEnd;
#pragma unroll
        for (int low = 0; low < 2; ++low) {
          const float sum = hopper::overRow(sums[low]);
          if (lane % 4 == 0) {
            float& kept = rowSums[length * kTileRows + tile.rowOf(0) % kTileRows + low * 8];
            kept = newRows ? sum : kept + sum;
            if (lastRows)
              of.rows[(int64_t{walk.range} * lengths.count + length) * of.rowStride + tile.rowOf(0) +
                      low * 8] = kept;
          }
        }
        if (kWithColumns) {
          const int64_t part = (walk.group * hopper::kCluster + rank) * hopper::kWarpgroups + warpgroup;
          hopper::writeSums(meeting, warpgroup, member,
                            of.columns + (part * lengths.count + length) * of.columnStride + tile.column);
        }
      });
#endif
}

__global__ void padFactors(const float* factors, int64_t stride, int size, int64_t padded, float* target) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i < padded) target[blockIdx.y * padded + i] = i < size ? factors[blockIdx.y * stride + i] : 1.0f;
}

// Memory for parts of column sums at a time.
constexpr int64_t kPartBytes = int64_t{384} << 20;

struct Plan {
  int units, slab;  // clusters at a time; groups whose parts are kept at a time
  StatisticsPlan walk;
};

cudaError_t planFor(const GradcacheScores& s, int lengths, bool columns, Plan* plan) {
  const auto kernel = &nestedStatistics<bfloat16, true>;
  if (cudaError_t code =
          hopper::residentClusters(reinterpret_cast<const void*>(kernel), kStatisticsBytes, &plan->units))
    return code;
  StatisticsPlan& walk = plan->walk;
  walk.steps = walk.groups = static_cast<int>(ceilDivide(s.rowCount, kTileRows * hopper::kCluster));
  walk.perGroup = 1;
  walk.set = 16;
  walk.columnTiles = static_cast<int>(ceilDivide(s.columnCount, kTileColumns));
  const int64_t groupBytes = int64_t{walk.columnTiles} * kTileColumns * hopper::kCluster *
                             hopper::kWarpgroups * lengths * sizeof(float);
  const int64_t most = columns ? std::max<int64_t>(kPartBytes / groupBytes, 1) : 256;
  plan->slab = chooseSlab(&walk, plan->units, static_cast<int>(std::min<int64_t>(most, walk.groups)));
  return cudaSuccess;
}

struct Memory {
  float *rowFactors, *columnFactors;
  NestedStatistics of;
  size_t bytes;

  Memory(const GradcacheScores& s, const Plan& plan, int lengths, bool columns, void* scratch) {
    Scratch memory{static_cast<uint8_t*>(scratch)};
    of.rowStride = int64_t{plan.slab} * kTileRows * hopper::kCluster;
    of.columnStride = wholeTiles(s.columnCount);
    rowFactors = memory.take<float>(lengths * of.rowStride);
    columnFactors = memory.take<float>(lengths * of.columnStride);
    of.rows = memory.take<float>(plan.walk.ranges * lengths * of.rowStride);
    of.columns = columns ? memory.take<float>(int64_t{plan.slab} * hopper::kCluster * hopper::kWarpgroups *
                                              lengths * of.columnStride)
                         : nullptr;
    of.rowFactors = rowFactors;
    of.columnFactors = columnFactors;
    bytes = memory.next - static_cast<uint8_t*>(scratch);
  }
};

template <class Half, bool kWithColumns>
cudaError_t sweep(const GradcacheScores& s, const Plan& plan, const Scores& scores, const Lengths& lengths,
                  const NestedStatistics& of) {
  CUtensorMap rows, columns;
  cudaError_t code = hopper::describeOperands(&rows, &columns, s);
  const auto kernel = &nestedStatistics<Half, kWithColumns>;
  if (code == cudaSuccess) code = allowSharedMemory(reinterpret_cast<const void*>(kernel), kStatisticsBytes);
  if (code != cudaSuccess) return code;
  return launchClusters(kernel, std::min(plan.walk.groups * plan.walk.ranges, plan.units), kStatisticsBytes,
                        static_cast<cudaStream_t>(s.stream), rows, columns, scores, lengths, plan.walk, of);
}

cudaError_t statistics(const GradcacheScores& s, const GradcacheLengths& l, float* rows, int64_t rowStride,
                       float* columns, int64_t columnStride, void* scratch) {
  Plan plan;
  if (cudaError_t code = planFor(s, l.count, columns != nullptr, &plan)) return code;
  const Memory memory(s, plan, l.count, columns != nullptr, scratch);
  const Lengths lengths = lengthsOf(l);
  const auto stream = static_cast<cudaStream_t>(s.stream);
  const NestedStatistics& of = memory.of;
  padFactors<<<joinBlocks(of.columnStride, l.count), kJoinThreads, 0, stream>>>(
      l.columnFactors, l.columnFactorStride, static_cast<int>(s.columnCount), of.columnStride,
      memory.columnFactors);
  for (int64_t begin = 0; begin < s.rowCount; begin += of.rowStride) {
    GradcacheScores slab = s;
    slab.rows = static_cast<const uint8_t*>(s.rows) + begin * s.rowStride * 2;
    slab.rowCount = std::min(of.rowStride, s.rowCount - begin);
    slab.leftOut = s.leftOut + begin;
    if (s.targets) slab.targets = s.targets + begin;
    const Scores scores = scoresOf(slab);
    Plan part = plan;
    part.walk.steps = part.walk.groups =
        static_cast<int>(ceilDivide(slab.rowCount, kTileRows * hopper::kCluster));
    padFactors<<<joinBlocks(of.rowStride, l.count), kJoinThreads, 0, stream>>>(
        l.rowFactors + begin, l.rowFactorStride, scores.rows, of.rowStride, memory.rowFactors);
    cudaError_t code;
    if (s.type == GRADCACHE_BFLOAT16)
      code = columns ? sweep<bfloat16, true>(slab, part, scores, lengths, of)
                     : sweep<bfloat16, false>(slab, part, scores, lengths, of);
    else
      code = columns ? sweep<float16, true>(slab, part, scores, lengths, of)
                     : sweep<float16, false>(slab, part, scores, lengths, of);
    if (code != cudaSuccess) return code;
    addParts<<<joinBlocks(scores.rows, l.count), kJoinThreads, 0, stream>>>(
        of.rows, plan.walk.ranges, of.rowStride, scores.rows, kAllLengths, rows + begin, rowStride);
    if (columns)
      addParts<<<joinBlocks(scores.columns, l.count), kJoinThreads, 0, stream>>>(
          of.columns, part.walk.groups * hopper::kCluster * hopper::kWarpgroups, of.columnStride,
          scores.columns, kAllLengths, columns, columnStride);
    if ((code = cudaGetLastError()) != cudaSuccess) return code;
  }
  return cudaSuccess;
}

}  // namespace

}  // namespace gradcache::cuda

int gradcache_nested_takes(const GradcacheLengths* lengths) {
  GradcacheScores s = {};
  if (lengths->count > 0 && lengths->count <= GRADCACHE_MOST_LENGTHS)
    s.width = lengths->lengths[lengths->count - 1];
  return gradcache::cuda::takesLengths(s, *lengths);
}

float gradcache_nested_reference(float bound) {
  GradcacheScores s = {};
  s.bound = bound;
  return gradcache::cuda::hasCommonReference(s) ? gradcache::cuda::commonReference(s) : -1.0f;
}

size_t gradcache_nested_statistics_scratch(const GradcacheScores* s, const GradcacheLengths* lengths,
                                           int columns) {
  using namespace gradcache::cuda;
  Plan plan;
  if (checkScores(s) != cudaSuccess || s->rowCount == 0 || s->columnCount == 0) return 0;
  if (!takesLengths(*s, *lengths)) return 0;
  if (planFor(*s, lengths->count, columns != 0, &plan) != cudaSuccess) return 0;
  return Memory(*s, plan, lengths->count, columns != 0, nullptr).bytes;
}

int gradcache_nested_statistics(const GradcacheScores* s, const GradcacheLengths* lengths, float* rows,
                                int64_t rowStride, float* columns, int64_t columnStride, void* scratch) {
  using namespace gradcache::cuda;
  cudaError_t code = checkScores(s);
  if (code == cudaSuccess && !takesLengths(*s, *lengths)) code = cudaErrorInvalidValue;
  if (code == cudaSuccess) code = checkAligned(scratch);
  if (code != cudaSuccess || s->rowCount == 0 || s->columnCount == 0) return code;
  return statistics(*s, *lengths, rows, rowStride, columns, columnStride, scratch);
}
