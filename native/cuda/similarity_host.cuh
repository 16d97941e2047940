// Host side of the kernels on scores.
#pragma once

#include "cuda/similarity_hopper.cuh"
#include "cuda/similarity_mma.cuh"

namespace gradcache::cuda {

constexpr double kLog2E = 1.44269504088896341;

// Whether the current device runs the kernels of similarity_hopper.cuh.
bool onHopper();

cudaError_t checkScores(const GradcacheScores* s);
// Whether the caller's bound lets all exponentials be taken from one reference.
bool hasCommonReference(const GradcacheScores& s);
float commonReference(const GradcacheScores& s);
Scores scoresOf(const GradcacheScores& s);

// How many groups' parts of sums, at most `most`, are kept at a time; and the walk's ranges of columns.
int chooseSlab(StatisticsPlan* walk, int units, int most);

// Fills the device, but takes no more blocks than there is work for.
template <class... Parameters, class... Arguments>
cudaError_t launchClusters(void (*kernel)(Parameters...), int clusters, size_t sharedBytes,
                           cudaStream_t stream, Arguments... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(clusters * hopper::kCluster));
  config.blockDim = dim3(hopper::kThreads);
  config.dynamicSmemBytes = sharedBytes;
  config.stream = stream;
  cudaLaunchAttribute shape;
  shape.id = cudaLaunchAttributeClusterDimension;
  shape.val.clusterDim.x = hopper::kCluster;
  shape.val.clusterDim.y = shape.val.clusterDim.z = 1;
  config.attrs = &shape;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

// Scratch memory, dealt out in pieces.
struct Scratch {
  uint8_t* next;
  template <class T>
  T* take(int64_t count) {
    T* const piece = reinterpret_cast<T*>(next);
    next += (count * sizeof(T) + 255) / 256 * 256;
    return piece;
  }
};

}  // namespace gradcache::cuda
