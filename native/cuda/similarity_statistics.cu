// Sums of the exponentials of all scores of each row and each column, in one sweep.
#include "cuda/similarity_host.cuh"
#include "cuda/similarity_statistics.cuh"

namespace gradcache::cuda {

namespace {

// ---- kernels

// Steps of a group on compute capability 9.0: what a warpgroup adds up of a column before it leaves a part.
constexpr int kHopperSteps = 4;
[[maybe_unused]] constexpr int kLag = 0;  // forEachTile; measured

template <bool kBounded, bool kWithColumns>
using HopperUse = StatisticsUse<WarpTile<1, 4>, 4, kHopperSteps, 256, kTileColumns, kBounded, kWithColumns>;
template <bool kBounded, bool kWithColumns>
using PortableUse = StatisticsUse<portable::Tile, portable::kWarpsDown, 1, portable::kThreads, kTileColumns,
                                  kBounded, kWithColumns>;

template <bool kBounded, bool kWithColumns>
constexpr size_t hopperBytes() {
  using Use = HopperUse<kBounded, kWithColumns>;
  return hopper::kOperandBytes + Use::kRowBytes + 2 * Use::kMeetingBytes + hopper::kBarrierBytes;
}
template <bool kBounded, bool kWithColumns>
constexpr size_t portableBytes() {
  using Use = PortableUse<kBounded, kWithColumns>;
  return portable::kOperandBytes + Use::kRowBytes + Use::kMeetingBytes;
}

template <class Half, bool kBounded, bool kWithColumns>
__global__ __launch_bounds__(hopper::kThreads,
                             1) void hopperStatistics(const __grid_constant__ CUtensorMap rows,
                                                      const __grid_constant__ CUtensorMap columns,
                                                      const __grid_constant__ Scores scores,
                                                      const __grid_constant__ StatisticsPlan plan,
                                                      const __grid_constant__ StatisticsParts parts) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  if (parts.unless && *parts.unless == 0) return;
  extern __shared__ __align__(1024) uint8_t shared[];
  using Use = HopperUse<kBounded, kWithColumns>;
  uint8_t* const rowMemory = shared + hopper::kOperandBytes;
  uint8_t* const meeting = rowMemory + Use::kRowBytes;
  const int thread = static_cast<int>(threadIdx.x) - 128, warpgroup = thread / 128;
  Use use(scores, parts, rowMemory, meeting + (warpgroup > 0 ? Use::kMeetingBytes : 0), thread,
          thread / 32 % 4, 0);
  const int cluster = static_cast<int>(blockIdx.x) / hopper::kCluster;
  const int clusters = static_cast<int>(gridDim.x) / hopper::kCluster;
  const int rank = static_cast<int>(hopper::blockOfCluster());
  LeftOut<WarpTile<1, 4>> leftOut;
  hopper::forEachTile<Half>(
      &rows, &columns, scores.width, kLag, shared, meeting + 2 * Use::kMeetingBytes,
      StatisticsWalk(plan, cluster, clusters),
      [&](const WarpTile<1, 4>& tile) { leftOut.load(scores, tile); },
      [&](const StatisticsWalk& walk, const WarpTile<1, 4>& tile, float(&numbers)[128]) {
        leftOut.apply(scores, tile, numbers);
        const int part = (walk.group * hopper::kCluster + rank) * hopper::kWarpgroups + warpgroup;
        use.template operator()<128>(walk, tile, numbers, thread % 128, part,
                                     [&] { hopper::syncNamed(hopper::kWarpgroupBarrier + warpgroup, 128); });
      });
#endif
}

template <class Half, bool kBounded, bool kWithColumns>
__global__ __launch_bounds__(portable::kThreads, 1) void portableStatistics(const portable::Operands operands,
                                                                            const Scores scores,
                                                                            const StatisticsPlan plan,
                                                                            const StatisticsParts parts) {
  if (parts.unless && *parts.unless == 0) return;
  extern __shared__ __align__(1024) uint8_t shared[];
  using Use = PortableUse<kBounded, kWithColumns>;
  uint8_t* const rowMemory = shared + portable::kOperandBytes;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  Use use(scores, parts, rowMemory, rowMemory + Use::kRowBytes, thread, warp % portable::kWarpsDown,
          warp / portable::kWarpsDown * kFragmentColumns);
  portable::forEachTile<Half>(
      operands, scores, shared,
      StatisticsWalk(plan, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x)),
      [&](const StatisticsWalk& walk, const portable::Tile& tile, float(&numbers)[portable::Tile::kNumbers]) {
        LeftOut<portable::Tile> leftOut;
        leftOut.load(scores, tile);
        leftOut.apply(scores, tile, numbers);
        use.template operator()<portable::kThreads>(walk, tile, numbers, thread, walk.group,
                                                    [] { __syncthreads(); });
      });
}

// The sum over `count` parts of each of `size` rows or columns. Tells in *apart where a common reference did
// not do.
template <bool kBounded>
__global__ void joinParts(const void* parts, int count, int stride, int size, float reference, LogSum* sums,
                          int* apart, const int* unless) {
  if (unless && *unless == 0) return;
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= size) return;
  using Part = typename PartOf<kBounded>::Type;
  const Part* const mine = static_cast<const Part*>(parts) + i;
  if constexpr (kBounded) {
    // Above this nothing that matters to the sum was rounded to zero.
    constexpr float kLeast = 0x1p-80f, kMost = 0x1p+126f;
    float sum = 0;
    for (int p = 0; p < count; ++p) sum += __ldcs(mine + static_cast<int64_t>(p) * stride);
    if (!(sum >= kLeast && sum <= kMost)) *apart = 1;
    sums[i] = LogSum{reference, sum};
  } else {
    LogSum sum{-infinite(), 0};
    for (int p = 0; p < count; ++p) sum = LogSum::joined(sum, mine[static_cast<int64_t>(p) * stride]);
    sums[i] = sum;
  }
}

__global__ void joinInto(LogSum* state, const LogSum* sums, int size) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < size) state[i] = LogSum::joined(state[i], sums[i]);
}

constexpr int kJoinThreads = 128;
unsigned joinBlocks(int size) { return static_cast<unsigned>(ceilDivide(size, kJoinThreads)); }

// ---- plan

struct Plan {
  bool hopper;
  int units;          // clusters or blocks at a time
  int stepRows;       // rows of a step
  int partsPerGroup;  // of columns
  int partsPerRange;  // of rows
  int slab;           // groups whose parts are kept at a time
  StatisticsPlan walk;

  int slabRows() const { return slab * walk.perGroup * stepRows; }
};

// Memory for parts of column sums at a time.
constexpr int64_t kPartBytes = int64_t{768} << 20;

cudaError_t planFor(const GradcacheScores& s, bool columns, Plan* plan) {
  plan->hopper = onHopper();
  plan->units = multiprocessors();
  if (plan->hopper) {
    const cudaError_t code =
        hopper::residentClusters(reinterpret_cast<const void*>(&hopperStatistics<bfloat16, true, true>),
                                 hopperBytes<false, true>(), &plan->units);
    if (code != cudaSuccess) return code;
  }
  if (plan->units < 1) return cudaErrorNoDevice;
  plan->stepRows = plan->hopper ? kTileRows * hopper::kCluster : kTileRows;
  plan->partsPerGroup = plan->hopper ? hopper::kCluster * hopper::kWarpgroups : 1;
  plan->partsPerRange = plan->hopper ? HopperUse<false, true>::kBeside : PortableUse<false, true>::kBeside;
  StatisticsPlan& walk = plan->walk;
  walk.steps = static_cast<int>(ceilDivide(s.rowCount, plan->stepRows));
  walk.perGroup = plan->hopper ? kHopperSteps : 1;
  walk.groups = static_cast<int>(ceilDivide(walk.steps, walk.perGroup));
  walk.columnTiles = static_cast<int>(ceilDivide(s.columnCount, kTileColumns));
  const int64_t groupBytes = int64_t{walk.columnTiles} * kTileColumns * plan->partsPerGroup * sizeof(LogSum);
  const int most = static_cast<int>(
      std::min<int64_t>(columns ? std::max<int64_t>(kPartBytes / std::max<int64_t>(groupBytes, 1), 1) : 64,
                        std::min(walk.groups, 128)));
  plan->slab = chooseSlab(&walk, plan->units, most);
  return cudaSuccess;
}

struct Memory {
  int* apart;
  LogSum *rowSums, *columnSums;
  StatisticsParts parts;
  size_t bytes;

  Memory(const Plan& plan, bool columns, void* scratch) {
    Scratch memory{static_cast<uint8_t*>(scratch)};
    const int64_t rows = plan.slabRows(), width = int64_t{plan.walk.columnTiles} * kTileColumns;
    apart = memory.take<int>(1);
    rowSums = memory.take<LogSum>(rows);
    columnSums = memory.take<LogSum>(columns ? width : 0);
    parts.rows = memory.take<LogSum>(rows * plan.walk.ranges * plan.partsPerRange);
    parts.columns = columns ? memory.take<LogSum>(width * plan.slab * plan.partsPerGroup) : nullptr;
    parts.rowStride = static_cast<int>(rows);
    parts.columnStride = static_cast<int>(width);
    parts.unless = nullptr;
    bytes = memory.next - static_cast<uint8_t*>(scratch);
  }
};

// ---- launches

template <class Half, bool kBounded, bool kWithColumns>
cudaError_t sweep(const GradcacheScores& s, const Plan& plan, const Scores& scores,
                  const StatisticsParts& parts, cudaStream_t stream) {
  const int items = plan.walk.groups * plan.walk.ranges, units = std::min(items, plan.units);
  if (plan.hopper) {
    CUtensorMap rows, columns;
    cudaError_t code = hopper::describeOperands(&rows, &columns, s);
    constexpr size_t bytes = hopperBytes<kBounded, kWithColumns>();
    const auto kernel = &hopperStatistics<Half, kBounded, kWithColumns>;
    if (code == cudaSuccess) code = allowSharedMemory(reinterpret_cast<const void*>(kernel), bytes);
    if (code != cudaSuccess) return code;
    return launchClusters(kernel, units, bytes, stream, rows, columns, scores, plan.walk, parts);
  }
  constexpr size_t bytes = portableBytes<kBounded, kWithColumns>();
  const auto kernel = &portableStatistics<Half, kBounded, kWithColumns>;
  if (cudaError_t code = allowSharedMemory(reinterpret_cast<const void*>(kernel), bytes)) return code;
  const portable::Operands operands{s.rows, s.columns, s.rowStride, s.columnStride};
  kernel<<<static_cast<unsigned>(units), portable::kThreads, bytes, stream>>>(operands, scores, plan.walk,
                                                                              parts);
  return cudaGetLastError();
}

template <bool kBounded>
cudaError_t sweepAndJoin(const GradcacheScores& s, const Plan& plan, const Scores& scores,
                         const Memory& memory, const int* unless, cudaStream_t stream) {
  StatisticsParts parts = memory.parts;
  parts.unless = unless;
  const bool columns = parts.columns != nullptr;
  cudaError_t code;
  if (s.type == GRADCACHE_BFLOAT16)
    code = columns ? sweep<bfloat16, kBounded, true>(s, plan, scores, parts, stream)
                   : sweep<bfloat16, kBounded, false>(s, plan, scores, parts, stream);
  else
    code = columns ? sweep<float16, kBounded, true>(s, plan, scores, parts, stream)
                   : sweep<float16, kBounded, false>(s, plan, scores, parts, stream);
  if (code != cudaSuccess) return code;
  joinParts<kBounded><<<joinBlocks(scores.rows), kJoinThreads, 0, stream>>>(
      parts.rows, plan.walk.ranges * plan.partsPerRange, parts.rowStride, scores.rows, scores.reference,
      memory.rowSums, memory.apart, unless);
  if (columns)
    joinParts<kBounded><<<joinBlocks(scores.columns), kJoinThreads, 0, stream>>>(
        parts.columns, plan.walk.groups * plan.partsPerGroup, parts.columnStride, scores.columns,
        scores.reference, memory.columnSums, memory.apart, unless);
  return cudaGetLastError();
}

cudaError_t statistics(const GradcacheScores& s, LogSum* rows, LogSum* columns, void* scratch) {
  Plan plan;
  if (cudaError_t code = planFor(s, columns != nullptr, &plan)) return code;
  const Memory memory(plan, columns != nullptr, scratch);
  const auto stream = static_cast<cudaStream_t>(s.stream);
  const int64_t slabRows = plan.slabRows();
  for (int64_t begin = 0; begin < s.rowCount; begin += slabRows) {
    GradcacheScores slab = s;
    slab.rows = static_cast<const uint8_t*>(s.rows) + begin * s.rowStride * 2;
    slab.rowCount = std::min(slabRows, s.rowCount - begin);
    slab.leftOut = s.leftOut + begin;
    if (s.targets) slab.targets = s.targets + begin;
    const Scores scores = scoresOf(slab);
    Plan part = plan;
    part.walk.steps = static_cast<int>(ceilDivide(slab.rowCount, plan.stepRows));
    part.walk.groups = static_cast<int>(ceilDivide(part.walk.steps, plan.walk.perGroup));
    cudaError_t code = cudaSuccess;
    const int* unless = nullptr;
    if (hasCommonReference(s)) {
      code = cudaMemsetAsync(memory.apart, 0, sizeof(int), stream);
      if (code == cudaSuccess) code = sweepAndJoin<true>(slab, part, scores, memory, nullptr, stream);
      unless = memory.apart;  // again, with references of their own, where that did not do
    }
    if (code == cudaSuccess) code = sweepAndJoin<false>(slab, part, scores, memory, unless, stream);
    if (code != cudaSuccess) return code;
    joinInto<<<joinBlocks(scores.rows), kJoinThreads, 0, stream>>>(rows + begin, memory.rowSums, scores.rows);
    if (columns)
      joinInto<<<joinBlocks(scores.columns), kJoinThreads, 0, stream>>>(columns, memory.columnSums,
                                                                        scores.columns);
    if ((code = cudaGetLastError()) != cudaSuccess) return code;
  }
  return cudaSuccess;
}

}  // namespace

}  // namespace gradcache::cuda

size_t gradcache_scores_statistics_scratch(const GradcacheScores* s, int columns) {
  using namespace gradcache::cuda;
  Plan plan;
  if (checkScores(s) != cudaSuccess || s->rowCount == 0 || s->columnCount == 0) return 0;
  if (planFor(*s, columns != 0, &plan) != cudaSuccess) return 0;
  return Memory(plan, columns != 0, nullptr).bytes;
}

int gradcache_scores_statistics(const GradcacheScores* s, float* rows, float* columns, void* scratch) {
  using namespace gradcache::cuda;
  cudaError_t code = checkScores(s);
  if (code == cudaSuccess) code = checkAligned(rows, columns, scratch);
  if (code != cudaSuccess || s->rowCount == 0 || s->columnCount == 0) return code;
  return statistics(*s, reinterpret_cast<LogSum*>(rows), reinterpret_cast<LogSum*>(columns), scratch);
}
