#include "distributed/group.h"

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <functional>
#include <numeric>
#include <thread>
#include <utility>

#include <c10/core/DeviceGuard.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include "core/error.h"
#include "distributed/nccl.h"
#include "distributed/own_thread.h"

namespace gradcache::distributed {

namespace {

// Key of the store under which the first rank that gives up says why.
constexpr const char* kFailed = "failed";

constexpr std::chrono::milliseconds kWeek = std::chrono::hours(7 * 24);

// An operator of c10d. Their schemas are the same in libtorch 2.11 to 2.14, the functions of its classes are
// not.
c10::OperatorHandle operatorNamed(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "");
}

// What the store says, or nothing where it does not answer within 2 s: its client waits for ever on a broken
// line.
std::string askSoon(std::function<std::string()> ask) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  try {
    return onOwnThread(std::move(ask), [&] { return std::chrono::steady_clock::now() > deadline; })
        .value_or("");
  } catch (const std::exception&) {
    return "";  // the store is gone, with the rank that held it
  }
}

int64_t sum(const std::vector<int64_t>& counts, int64_t first) {
  return std::accumulate(counts.begin(), counts.begin() + first, int64_t{0});
}

bool allTheSame(const std::vector<int64_t>& counts) {
  return std::all_of(counts.begin(), counts.end(), [&](int64_t count) { return count == counts[0]; });
}

c10::IValue reductionOf(Reduction reduction) {
  return c10::make_intrusive<c10d::ReduceOp>(reduction == Reduction::kSum ? c10d::ReduceOp::SUM
                                                                          : c10d::ReduceOp::MAX);
}

}  // namespace

Group::Group(GroupOptions options) : options_(std::move(options)) {}

Group::~Group() { close(); }

void Group::join() {
  // Its warnings, a line for each try, would hide what an error says in the end.
  setenv("TORCH_CPP_LOG_LEVEL", "ERROR", /*overwrite=*/0);
  Connection connection = connect(options_, stopped_);
  store_ = std::move(connection.store);
  group_ = c10::make_intrusive<c10d::ProcessGroup>(store_, rank(), size());
  group_->setBackend(c10::DeviceType::CPU, c10d::ProcessGroup::BackendType::GLOO, connection.gloo);
  group_->setDefaultBackend(c10d::ProcessGroup::BackendType::GLOO);
  group_->setGroupName("gradcache");
  meet({}, "meeting at the start");
  if (!device().is_cuda()) return;
  try {
    const c10::OptionalDeviceGuard onDevice(device());
    nccl_ = makeNccl(options_.libtorchCuda, c10::make_intrusive<c10d::PrefixStore>("nccl", store_), rank(),
                     size(), options_.timeout);
    group_->setBoundDeviceId(device());
    group_->setBackend(c10::DeviceType::CUDA, c10d::ProcessGroup::BackendType::NCCL, nccl_);
  } catch (const Error& error) {
    giveUp(error.what());
    throw;
  } catch (const std::exception& error) {
    giveUp(textOf(error));
    fail("DISTRIBUTED", "rank ", rank(), " of ", size(), " could not open NCCL: ", textOf(error));
  }
  // It connects in the first exchange and takes its memory: here, where that is a failure of the start, and
  // counts before what is free for chunks is asked for.
  allReduce(at::zeros({1}, at::TensorOptions().device(device())), Reduction::kSum, "connecting the GPUs");
}

void Group::failed(const std::string& what, const std::string& reason) {
  failure_ = c10::str(what, " over ", size(), " ranks failed: ", reason);
  if (nccl_ != nullptr) {
    try {
      nccl_->abort();  // or its kernels wait on
    } catch (const std::exception&) {
      // The error to tell is the one that led here.
    }
  }
  fail("DISTRIBUTED", failure_);
}

// Runs a part of an exchange, and says what its error is.
void Group::attempt(const std::string& what, const std::function<void()>& exchange) {
  require(!stopped_, "ABORTED", what, " was stopped: the process exits");
  require(failure_.empty(), "DISTRIBUTED", "the ranks do not work together any more: ", failure_);
  require(group_ != nullptr, "DISPOSED", "the ranks were used after close()");
  try {
    const c10::OptionalDeviceGuard onDevice(device().is_cuda() ? device() : c10::Device(at::kCPU));
    exchange();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    // The reason may come a moment after the connection broke.
    const std::string reason = reasonOfPeer(20);
    if (!reason.empty()) failed(what, reason);
    // Which rank ended cannot be told from a broken connection; this one only noticed.
    failed(what, c10::str("rank ", rank(), " heard no reason from the others, and sees: ", textOf(error)));
  }
}

// Calls an operator whose last result is the work, and waits for that, or notes it.
void Group::run(const char* name, torch::jit::Stack stack, const std::string& what) {
  attempt(what, [&] {
    operatorNamed(name).callBoxed(stack);
    auto work = stack.back().toCustomClass<c10d::Work>();
    if (beginning_) {
      begun_.push_back({std::move(work), std::move(stack), what});
      return;
    }
    await(*work, what);
    work->wait();
  });
}

// wait() of the work could not be left by a process that is to exit. It would not hear of another rank's end
// either: the connections of Gloo break then, and NCCL's kernels wait on.
void Group::await(c10d::Work& work, const std::string& what) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + options_.timeout;
  auto look = Clock::now() + std::chrono::seconds(1);
  for (int times = 0; !work.isCompleted() && Clock::now() < deadline; ++times) {
    require(!stopped_, "ABORTED", what, " was stopped: the process exits");
    if (nccl_ != nullptr && Clock::now() > look) {
      const std::string reason = reasonOfPeer(1);
      if (!reason.empty()) failed(what, reason);
      look = Clock::now() + std::chrono::seconds(2);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(times < 100 ? 20 : 500));
  }
}

void Group::openBeside(const std::string& what) {
  // Those of NCCL are apart from meetings anyway.
  if (beside_ != nullptr || device().is_cuda()) return;
  attempt(what, [&] {
    auto gloo = connectBeside(options_, store_, stopped_);
    auto group = c10::make_intrusive<c10d::ProcessGroup>(store_, rank(), size());
    group->setBackend(c10::DeviceType::CPU, c10d::ProcessGroup::BackendType::GLOO, gloo);
    group->setDefaultBackend(c10d::ProcessGroup::BackendType::GLOO);
    group->setGroupName("gradcache beside");
    beside_ = std::move(group);
  });
}

const c10::intrusive_ptr<c10d::ProcessGroup>& Group::channel() const {
  return beginning_ && beside_ != nullptr ? beside_ : group_;
}

// One rank may begin long before another; who has ended shows in the next meeting.
int64_t Group::limit() const { return beginning_ ? kWeek.count() : -1; }

void Group::begin(const std::function<void()>& exchanges) {
  require(device().is_cuda() || beside_ != nullptr, "INPUT", "nothing was opened to begin exchanges");
  beginning_ = true;
  try {
    exchanges();
  } catch (...) {
    beginning_ = false;
    throw;
  }
  beginning_ = false;
}

void Group::finish(const std::string& what) {
  while (!begun_.empty()) {
    const Begun next = std::move(begun_.front());
    begun_.pop_front();
    attempt(what, [&] {
      await(*next.work, what);
      TORCH_CHECK(next.work->isCompleted(), next.what, " did not end in time");
      next.work->wait();
    });
  }
}

std::vector<double> Group::meet(const std::vector<double>& own, const std::string& what) {
  // One number at least: there is no exchange of nothing.
  const auto count = static_cast<int64_t>(std::max<size_t>(own.size(), 1));
  at::Tensor mine = at::zeros({1, count}, at::kDouble);
  std::copy(own.begin(), own.end(), mine.mutable_data_ptr<double>());
  at::Tensor all = at::empty({size(), count}, at::kDouble);
  run("c10d::_allgather_base_", {all, mine, group_, true, int64_t{-1}}, what);
  if (own.empty()) return {};
  const double* numbers = all.const_data_ptr<double>();
  return {numbers, numbers + all.numel()};
}

void Group::requireRows(const at::Tensor& all, const std::vector<int64_t>& counts,
                        const std::string& what) const {
  require(static_cast<int>(counts.size()) == size() && all.dim() > 0 && all.is_contiguous() &&
              all.size(0) == sum(counts, size()),
          "SHAPE", what, ": ", all.sizes(), " is not the rows of all ranks, which are ", counts);
}

void Group::allGather(const at::Tensor& all, const std::vector<int64_t>& counts, const std::string& what) {
  requireRows(all, counts, what);
  at::NoGradGuard withoutGraph;
  const at::Tensor flat = all.detach();
  if (allTheSame(counts)) {
    const at::Tensor own = flat.narrow(0, sum(counts, rank()), counts[rank()]);
    if (flat.numel() > 0) run("c10d::_allgather_base_", {flat, own, channel(), true, limit()}, what);
    return;
  }
  for (int k = 0; k < size(); ++k) {
    const at::Tensor rows = flat.narrow(0, sum(counts, k), counts[k]);
    if (rows.numel() > 0) broadcast(rows, k, what);
  }
}

void Group::reduceScatter(const at::Tensor& all, const std::vector<int64_t>& counts,
                          const std::string& what) {
  requireRows(all, counts, what);
  at::NoGradGuard withoutGraph;
  const at::Tensor flat = all.detach();
  if (flat.numel() == 0) return;
  if (allTheSame(counts) && flat.is_cuda()) {
    const at::Tensor own = flat.narrow(0, sum(counts, rank()), counts[rank()]);
    run("c10d::_reduce_scatter_base_", {own, flat, channel(), reductionOf(Reduction::kSum), true, limit()},
        what);
    return;
  }
  for (int k = 0; k < size(); ++k) {
    const at::Tensor rows = flat.narrow(0, sum(counts, k), counts[k]);
    if (rows.numel() == 0) continue;
    run("c10d::reduce_",
        {std::vector<at::Tensor>{rows}, channel(), reductionOf(Reduction::kSum), int64_t{k}, int64_t{0}, true,
         limit()},
        what);
  }
}

void Group::allReduce(const at::Tensor& tensor, Reduction reduction, const std::string& what) {
  require(!beginning_ || tensor.is_contiguous(), "INPUT", what, ": the tensor has gaps");
  at::NoGradGuard withoutGraph;
  const at::Tensor dense = tensor.detach().contiguous();
  run("c10d::allreduce_",
      {std::vector<at::Tensor>{dense}, channel(), reductionOf(reduction), c10::IValue(), true, limit()},
      what);
  if (!tensor.is_contiguous()) tensor.detach().copy_(dense);
  tensor.unsafeGetTensorImpl()->bump_version();
}

void Group::broadcast(const at::Tensor& tensor, int root, const std::string& what) {
  at::NoGradGuard withoutGraph;
  const at::Tensor dense = tensor.detach().contiguous();
  run("c10d::broadcast_",
      {std::vector<at::Tensor>{dense}, channel(), int64_t{root}, int64_t{0}, true, limit()}, what);
  if (!tensor.is_contiguous()) tensor.detach().copy_(dense);
  tensor.unsafeGetTensorImpl()->bump_version();
}

void Group::pass(const at::Tensor& sent, const at::Tensor& received, const std::string& what) {
  require(sent.dim() == 1 && received.sizes() == sent.sizes() && sent.is_contiguous() &&
              received.is_contiguous() && sent.numel() > 0,
          "SHAPE", what, ": ", sent.sizes(), " is passed on for ", received.sizes());
  at::NoGradGuard withoutGraph;
  std::vector<int64_t> to(size()), from(size());
  to[(rank() + size() - 1) % size()] = sent.numel();
  from[(rank() + 1) % size()] = received.numel();
  // One operator that both Gloo and NCCL have, and that opens no connections of its own.
  run("c10d::alltoall_base_", {received, sent, channel(), from, to, true, limit()}, what);
}

void Group::giveUp(const std::string& reason) {
  if (store_ == nullptr) return;
  askSoon([store = store_, text = c10::str("rank ", rank(), ": ", reason)] {
    // The first reason stays: others follow from it.
    store->compareSet(kFailed, std::vector<uint8_t>(), std::vector<uint8_t>(text.begin(), text.end()));
    return std::string();
  });
}

// Why another rank gave up, where it said so.
std::string Group::reasonOfPeer(int tries) const {
  return askSoon([store = store_, tries] {
    for (int k = 0; k < tries; ++k) {
      if (k > 0) std::this_thread::sleep_for(std::chrono::milliseconds(25));
      if (!store->check({kFailed})) continue;
      const std::vector<uint8_t> reason = store->get(kFailed);
      return std::string(reason.begin(), reason.end());
    }
    return std::string();
  });
}

void Group::close() {
  if (group_ == nullptr) return;
  const bool broken = stopped_ || !failure_.empty() || !begun_.empty();
  if (nccl_ != nullptr && !stopped_) {
    try {
      if (broken)
        nccl_->abort();
      else
        nccl_->shutdown();
    } catch (const std::exception&) {
      // Nothing is left to be done with it.
    }
  }
  // Where something went wrong, their destructors would wait for exchanges that nobody may be left to answer.
  if (broken) {
    static_cast<void>(new std::deque<Begun>(std::move(begun_)));
    static_cast<void>(beside_.release());
    static_cast<void>(group_.release());
    static_cast<void>(store_.release());
  }
  beside_.reset();
  group_.reset();
  nccl_.reset();
  store_.reset();
}

}  // namespace gradcache::distributed
