// Queues of jobs with a worker thread each. Of libtorch this knows nothing.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace gradcache {

// The jobs of one queue run one after another, in the order submitted; those of different queues run beside
// each other. A job may have a place in several queues: it begins when it is the first in all of them, and
// what is behind it in any of them waits for its end. All its places are taken at once, so that of two jobs
// one is before the other in every queue that both are in: no two ever wait for each other.
class Queues {
 public:
  // Called exactly once, on a worker thread; `cancelled` says that the job must only report that it did not
  // run. It must not throw.
  using Job = std::function<void(bool cancelled)>;

  // `begin` is the first that each worker thread does.
  explicit Queues(std::function<void()> begin) : begin_(std::move(begin)) {}
  ~Queues();
  Queues(const Queues&) = delete;
  Queues& operator=(const Queues&) = delete;

  // Gives the job a place in each of these queues, which are made where there are none yet; it runs on the
  // thread of the first. No queue may be named twice. Jobs of group 0 cannot be cancelled by themselves; any
  // other number names jobs that are cancelled together. Throws std::system_error, and keeps nothing of the
  // job, where the system has no further thread.
  void submit(uint64_t group, const std::vector<int>& queues, Job job);
  // Marks the jobs of `group` that have not begun. A running job goes on to its end.
  void cancel(uint64_t group);
  // Cancels what has not begun, waits for the running jobs, ends the threads. Later jobs are cancelled at
  // once.
  void shutdown();
  // The queues whose thread has been started.
  std::vector<int> started();

 private:
  struct Entry {
    uint64_t group;
    std::vector<int> queues;
    Job job;
    bool cancelled = false;
  };
  struct Queue {
    std::list<std::shared_ptr<Entry>> entries;
    std::thread thread;
  };
  void run(int name);
  // The next job for the thread of this queue; null: it has to wait.
  std::shared_ptr<Entry> next(int name);

  const std::function<void()> begin_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int, Queue> queues_;
  bool stopping_ = false;
};

}  // namespace gradcache
