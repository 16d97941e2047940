// An engine for each device: a worker thread with its queue, started by the first job. Long work runs there,
// so that the event loop stays free.
//
// The order of jobs:
//   1. Jobs of one device run one after another, in the order submitted. The order of the launches on a
//      device is so the order of the calls.
//   2. Jobs of different devices run beside each other.
//   3. A job that touches several devices (a copy between them, an operator whose tensors lie on two) waits
//      until everything before it on each of them has ended, and everything after it on any of them waits for
//      its end. Whatever a tensor waits for is thus done before the job that reads it begins. It runs on the
//      engine of its first GPU; that of the CPU is for jobs that touch no GPU.
// A job must therefore name every device of which it reads or writes a tensor that others may hold.
// A job of a GPU ends when its work is launched. Between two GPUs, libtorch's copies wait for the streams of
// both.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "engine/devices.h"
#include "engine/queues.h"

namespace gradcache {

class Engines {
 public:
  using Job = Queues::Job;

  Engines();

  // As Queues, for the queues of these devices; none is the CPU's. Throws OUT_OF_MEMORY, and keeps nothing of
  // the job, where the thread cannot be started.
  void submit(uint64_t group, const Devices& devices, Job job);
  void cancel(uint64_t group) { queues_.cancel(group); }
  void shutdown() { queues_.shutdown(); }
  // A job on each engine that has been started.
  template <class Work>
  void onEach(const Work& work) {
    for (int queue : queues_.started()) queues_.submit(0, {queue}, work);
  }

 private:
  Queues queues_;
};

}  // namespace gradcache
