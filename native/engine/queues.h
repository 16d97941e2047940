// Queues of jobs with a worker thread each. It does not know libtorch.
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

// The jobs of one queue run one after another, in the order submitted; different queues run in parallel. A
// job may have a place in several queues: it begins when it is first in all of them, and later jobs in any of
// them wait for its end. It takes all its places at once, so two jobs have the same order in every queue that
// they share: no two ever wait for each other.
class Queues {
 public:
  // Called exactly once, on a worker thread; `cancelled` says that the job must only report that it did not
  // run. It must not throw.
  using Job = std::function<void(bool cancelled)>;

  // Each worker thread calls `begin` first.
  explicit Queues(std::function<void()> begin) : begin_(std::move(begin)) {}
  ~Queues();
  Queues(const Queues&) = delete;
  Queues& operator=(const Queues&) = delete;

  // Gives the job a place in each of these queues, which are created if needed; it runs on the thread of the
  // first. No queue may be named twice. Jobs with the same group number are cancelled together, except those
  // of group 0. Throws std::system_error and drops the job if no thread can be started.
  void submit(uint64_t group, const std::vector<int>& queues, Job job);
  // Cancels the jobs of `group` that have not begun. A running job continues to its end.
  void cancel(uint64_t group);
  // Cancels waiting jobs, waits for running ones and ends the threads. Later jobs are cancelled at once.
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
