// Processes that train together, called ranks, over libtorch's c10d: a TCPStore is where they meet, Gloo
// carries what they agree on and tensors of the CPU, NCCL carries tensors of a GPU.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/stack.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "distributed/connection.h"

namespace c10d {
class ProcessGroup;
class Work;
}  // namespace c10d

namespace gradcache::distributed {

struct GroupOptions : ConnectionOptions {
  at::Device device = at::kCPU;  // of the tensors that are exchanged
  std::string libtorchCuda;      // path of libtorch_cuda.so, for a GPU
};

enum class Reduction { kSum, kMax };

// Every rank calls the same functions in the same order, and they wait for one another: in a function of one
// rank there is an exchange for each of the others. They throw DISTRIBUTED where another rank ended or did
// not come within the timeout; nothing else works after that. `what` says in messages what the exchange is
// for.
class Group {
 public:
  explicit Group(GroupOptions options);
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  int rank() const { return options_.rank; }
  int size() const { return options_.size; }
  at::Device device() const { return options_.device; }

  // Before all others.
  void join();
  // Numbers of every rank, one rank's behind the other's. Each gives as many.
  std::vector<double> meet(const std::vector<double>& own, const std::string& what);
  // `all` holds counts[k] rows of each rank k, one rank's behind the other's. On entry a rank's own rows are
  // there, at the end all are.
  void allGather(const at::Tensor& all, const std::vector<int64_t>& counts, const std::string& what);
  // The same rows: at the end a rank's own rows hold the sum over ranks, and the others anything.
  void reduceScatter(const at::Tensor& all, const std::vector<int64_t>& counts, const std::string& what);
  // In place.
  void allReduce(const at::Tensor& tensor, Reduction reduction, const std::string& what);
  void broadcast(const at::Tensor& tensor, int root, const std::string& what);
  // Sends numbers to the rank before this one, and receives as many from the one behind it. Rank 0 is behind
  // the last. Both tensors are flat, and of the same size on all ranks.
  void pass(const at::Tensor& sent, const at::Tensor& received, const std::string& what);

  // Opens what is needed to begin exchanges. All ranks call it, and once is enough.
  void openBeside(const std::string& what);
  // Calls functions of this group that do not wait for the others then: until finish(), their tensors are in
  // use. Ranks begin the same exchanges in the same order, and in between may meet, but not exchange tensors.
  void begin(const std::function<void()>& exchanges);
  // Waits for all that was begun.
  void finish(const std::string& what);

  // Tells the others, for the message of their own error, why this rank ends. Waits 2 s at most. Any thread
  // may call it.
  void giveUp(const std::string& reason);
  // Without waiting for the others.
  void close();
  // Ends the exchange under way and all later ones with ABORTED, for a process that exits. Any thread may
  // call it.
  void stop() { stopped_ = true; }

 private:
  // An exchange that was begun, and what it uses.
  struct Begun {
    c10::intrusive_ptr<c10d::Work> work;
    torch::jit::Stack stack;
    std::string what;
  };

  void run(const char* name, torch::jit::Stack stack, const std::string& what);
  void attempt(const std::string& what, const std::function<void()>& exchange);
  void await(c10d::Work& work, const std::string& what);
  // What the exchanges of now go through, and their time limit in milliseconds, -1 for the group's own.
  const c10::intrusive_ptr<c10d::ProcessGroup>& channel() const;
  int64_t limit() const;
  [[noreturn]] void failed(const std::string& what, const std::string& reason);
  std::string reasonOfPeer(int tries) const;
  void requireRows(const at::Tensor& all, const std::vector<int64_t>& counts, const std::string& what) const;

  const GroupOptions options_;
  std::string failure_;  // not empty: of the first exchange that failed
  std::atomic<bool> stopped_{false};
  c10::intrusive_ptr<c10d::Store> store_;
  c10::intrusive_ptr<c10d::ProcessGroup> group_;
  c10::intrusive_ptr<c10d::Backend> nccl_;         // null for the CPU
  c10::intrusive_ptr<c10d::ProcessGroup> beside_;  // of the CPU: for what is begun; null: not opened
  bool beginning_ = false;
  std::deque<Begun> begun_;
};

}  // namespace gradcache::distributed
