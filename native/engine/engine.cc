#include "engine/engine.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <system_error>

#include "core/error.h"

namespace gradcache {

namespace {

void begin() {
  // Of a loss near zero the gradients are subnormal numbers, and with those a CPU computes up to a hundred
  // times slower. On this thread, and those that OpenMP starts from it, they are zeros.
  at::globalContext().setFlushDenormal(true);
  // OpenMP counts per thread; libtorch would set a new thread's number at its first parallel loop only.
  at::init_num_threads();
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
