// An engine for each device: a worker thread with its queue, started by the first job. Long work runs there,
// so that the event loop stays free.
//
// The order of jobs:
//   1. Jobs of one device run one after another, in the order submitted. So a device's launches are in the
//      order of the calls.
//   2. Jobs of different devices run beside each other.
//   3. A job that touches several devices (a copy, or an operator with tensors on two) waits for all earlier
//      jobs of each of them, and all later jobs of any of them wait for it. So a tensor is complete before a
//      job reads it. The job runs on the engine of its first GPU.
// A job must therefore name every device on which it reads or writes a tensor that others may hold. A job of
// a GPU ends when its work is launched. libtorch's copies between two GPUs wait for the streams of both.
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

  // Submits a job to the queues of these devices, to the CPU's if there are none. Throws OUT_OF_MEMORY and
  // drops the job if the thread cannot be started.
  void submit(uint64_t group, const Devices& devices, Job job);
  void cancel(uint64_t group) { queues_.cancel(group); }
  void shutdown() { queues_.shutdown(); }
  // Submits a job to each engine that has been started.
  template <class Work>
  void onEach(const Work& work) {
    for (int queue : queues_.started()) queues_.submit(0, {queue}, work);
  }

 private:
  Queues queues_;
};

}  // namespace gradcache
