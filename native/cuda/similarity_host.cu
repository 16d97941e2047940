// What the kernels on scores ask of the host: matrices described to the copy engine, and how much runs at a
// time.
#include "cuda/similarity_host.cuh"

#include <cuda.h>

#include <atomic>

namespace gradcache::cuda {

namespace {

constexpr int kDevices = 64;

[[maybe_unused]] int attribute(cudaDeviceAttr name) {
  int device = 0, value = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 0;
  return cudaDeviceGetAttribute(&value, name, device) == cudaSuccess ? value : 0;
}

}  // namespace

bool onHopper() {
#ifdef GRADCACHE_PORTABLE
  return false;  // what other cards run, for a test on this one
#else
  return attribute(cudaDevAttrComputeCapabilityMajor) == 9 &&
         attribute(cudaDevAttrComputeCapabilityMinor) == 0;
#endif
}

cudaError_t checkScores(const GradcacheScores* s) {
  const bool known = s && (s->type == GRADCACHE_BFLOAT16 || s->type == GRADCACHE_FLOAT16);
  const bool valid = known && s->rowCount >= 0 && s->rowCount <= kMostTokens && s->columnCount >= 0 &&
                     s->columnCount <= kMostTokens && s->width > 0 && s->width % 8 == 0 &&
                     s->width <= kMostTokens && s->rowStride >= s->width && s->columnStride >= s->width &&
                     s->rowStride % 8 == 0 && s->columnStride % 8 == 0 && s->factor > 0 &&
                     s->firstColumn >= 0 && s->firstColumn <= kMostTokens && s->targetCount >= 0 &&
                     (s->targetCount == 0 || s->targets) && s->targetStride >= 0 &&
                     s->targetStride <= kMostTokens;
  if (!valid) return cudaErrorInvalidValue;
  return checkAligned(s->rows, s->columns);
}

float commonReference(const GradcacheScores& s) {
  // A sum of 2^30 numbers of at most 2^90 is still a float.
  constexpr float kHighest = 90;
  const float bound = s.bound * static_cast<float>(kLog2E);
  return bound > kHighest ? bound - kHighest : 0.0f;
}

bool hasCommonReference(const GradcacheScores& s) {
  // Beyond this, scores in the middle of the range would come out as zero.
  return s.bound >= 0 && s.bound * static_cast<float>(kLog2E) <= 200.0f;
}

Scores scoresOf(const GradcacheScores& s) {
  Scores scores;
  scores.rows = static_cast<int>(s.rowCount);
  scores.columns = static_cast<int>(s.columnCount);
  scores.width = static_cast<int>(s.width);
  scores.factor = static_cast<float>(s.factor * kLog2E);
  scores.reference = hasCommonReference(s) ? commonReference(s) : 0.0f;
  const bool crosses = s.leavesOut && s.leftOut > -s.rowCount && s.leftOut < s.columnCount;
  scores.without = crosses ? static_cast<int>(s.leftOut) : kAllPairs;
  scores.targets = s.targetCount > 0 ? s.targets : nullptr;
  scores.targetCount = s.targetCount;
  scores.targetStride = static_cast<int>(s.targetStride);
  scores.firstColumn = static_cast<int>(s.firstColumn);
  return scores;
}

int chooseSlab(StatisticsPlan* walk, int units, int most) {
  // The shortest time, in tiles, when all units take as many items. A slab costs some tiles' time for its
  // ends, an item some of one's.
  double best = 0;
  int chosen = 0;
  for (int slab = most; slab >= 1 && slab >= most / 3; --slab) {
    const double slabs = static_cast<double>(walk->groups) / slab;
    for (int ranges = 1; ranges <= 64 && ranges <= walk->columnTiles; ++ranges) {
      const int perRange = static_cast<int>(ceilDivide(walk->columnTiles, ranges));
      if (ceilDivide(walk->columnTiles, perRange) != ranges) continue;
      const double time = slabs * (static_cast<double>(ceilDivide(int64_t{slab} * ranges, units)) *
                                       (perRange * walk->perGroup + 0.5) +
                                   12);
      if (chosen == 0 || time < best) {
        best = time;
        chosen = slab;
        walk->ranges = ranges;
        walk->perRange = perRange;
      }
    }
  }
  return chosen;
}

namespace hopper {

cudaError_t describeMatrix(CUtensorMap* map, GradcacheType type, const void* data, int64_t rows,
                           int64_t columns, int64_t stride, uint32_t boxRows, uint32_t boxColumns) {
  using Encode = decltype(&cuTensorMapEncodeTiled);
  static std::atomic<Encode> known{nullptr};
  Encode encode = known.load(std::memory_order_relaxed);
  if (!encode) {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result;
    const cudaError_t code =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result);
    if (code != cudaSuccess) return code;
    if (result != cudaDriverEntryPointSuccess) return cudaErrorNotSupported;
    encode = reinterpret_cast<Encode>(found);
    known.store(encode, std::memory_order_relaxed);
  }
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(stride) * 2};
  const cuuint32_t box[2] = {boxColumns, boxRows}, steps[2] = {1, 1};
  const CUresult code = encode(
      map, type == GRADCACHE_BFLOAT16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2,
      const_cast<void*>(data), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return code == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t describeOperands(CUtensorMap* rows, CUtensorMap* columns, const GradcacheScores& s) {
  if (cudaError_t code =
          describeMatrix(rows, s.type, s.rows, s.rowCount, s.width, s.rowStride, kTileRows, kDepth))
    return code;
  return describeMatrix(columns, s.type, s.columns, s.columnCount, s.width, s.columnStride, kHalfColumns,
                        kDepth);
}

cudaError_t residentClusters(const void* kernel, size_t sharedBytes, int* clusters) {
  int device = 0;
  if (cudaError_t code = cudaGetDevice(&device)) return code;
  // One multiprocessor holds one block of any of these kernels, so that the answer is the device's.
  static std::atomic<int> known[kDevices];
  *clusters = device < kDevices ? known[device].load(std::memory_order_relaxed) : 0;
  if (*clusters > 0) return cudaSuccess;
  if (cudaError_t code = allowSharedMemory(kernel, sharedBytes)) return code;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(multiprocessors() / kCluster * kCluster));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = sharedBytes;
  cudaLaunchAttribute shape;
  shape.id = cudaLaunchAttributeClusterDimension;
  shape.val.clusterDim.x = kCluster;
  shape.val.clusterDim.y = shape.val.clusterDim.z = 1;
  config.attrs = &shape;
  config.numAttrs = 1;
  if (cudaError_t code = cudaOccupancyMaxActiveClusters(clusters, kernel, &config)) return code;
  if (*clusters < 1) return cudaErrorLaunchOutOfResources;
  if (device < kDevices) known[device].store(*clusters, std::memory_order_relaxed);
  return cudaSuccess;
}

}  // namespace hopper

}  // namespace gradcache::cuda
