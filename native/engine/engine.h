// One worker thread and its queue. Long work runs here, in the order submitted, so the event loop stays free
// and the order of device launches is the order of the calls.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace gradcache {

class Engine {
 public:
  // Called exactly once on the engine thread; `cancelled` says that the job must only report that it did not
  // run. It must not throw.
  using Job = std::function<void(bool cancelled)>;

  Engine() = default;
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Jobs of group 0 cannot be cancelled by themselves; any other number names jobs that are cancelled
  // together. Throws OUT_OF_MEMORY, and keeps nothing of the job, where the thread cannot be started.
  void submit(uint64_t group, Job job);
  // Marks the jobs of `group` that have not begun. A running job goes on to its end.
  void cancel(uint64_t group);
  // Cancels what has not begun, waits for the running job, ends the thread. Later jobs are cancelled at once.
  void shutdown();

 private:
  struct Entry {
    uint64_t group;
    bool cancelled;
    Job job;
  };
  void start();
  void run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Entry> queue_;
  std::thread thread_;
  bool stopping_ = false;
};

}  // namespace gradcache
