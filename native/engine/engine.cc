#include "engine/engine.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <system_error>

#include "core/error.h"
#include "core/products.h"

namespace gradcache {

namespace {

void begin() {
  // Gradients of a near-zero loss are subnormal, and a CPU is up to a hundred times slower with subnormal
  // numbers. This thread, and those that OpenMP starts from it, flush them to zero.
  at::globalContext().setFlushDenormal(true);
  // OpenMP's thread count belongs to a thread; libtorch would set it only at the first parallel loop.
  at::init_num_threads();
  keepProductsExact();
}

// GPUs first, by number; the CPU last.
int queueOf(c10::Device device) {
  constexpr int kCpu = 1 << 16;
  return device.is_cpu() ? kCpu : (static_cast<int>(device.type()) << 8) + device.index();
}

}  // namespace

Engines::Engines() : queues_(begin) {}

void Engines::submit(uint64_t group, const Devices& devices, Job job) {
  std::vector<int> queues;
  for (c10::Device device : devices.list()) queues.push_back(queueOf(device));
  if (queues.empty()) queues.push_back(queueOf(at::kCPU));
  std::sort(queues.begin(), queues.end());
  try {
    queues_.submit(group, queues, std::move(job));
  } catch (const std::system_error& error) {
    fail("OUT_OF_MEMORY", "the system gives this process no further thread: ", error.what());
  }
}

}  // namespace gradcache
