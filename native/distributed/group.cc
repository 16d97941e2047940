#define USE_C10D_GLOO

#include "distributed/group.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>
#include <unordered_map>
#include <utility>

#include <c10/core/DeviceGuard.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "core/error.h"
#include "distributed/nccl.h"

namespace gradcache::distributed {

namespace {

// Key of the store under which the first rank that gives up says why.
constexpr const char* kFailed = "failed";

// An operator of c10d. Their schemas are the same in libtorch 2.11 to 2.14, the functions of its classes are
// not.
const c10::OperatorHandle& operatorNamed(const char* name) {
  static std::mutex mutex;
  static std::unordered_map<std::string, c10::OperatorHandle> known;
  std::lock_guard<std::mutex> lock(mutex);
  auto found = known.find(name);
  if (found == known.end())
    found = known.emplace(name, c10::Dispatcher::singleton().findSchemaOrThrow(name, "")).first;
  return found->second;
}

std::string textOf(const std::exception& error) {
  const auto* known = dynamic_cast<const c10::Error*>(&error);
  std::string text = known == nullptr ? error.what() : known->what_without_backtrace();
  // Some messages have the trace of the stack inside.
  for (const char* trace : {"\nException raised from", ". Original exception:\n"})
    if (const size_t at = text.find(trace); at != std::string::npos && at > 0) text.resize(at);
  return text;
}

// This machine's address on the way to the store. The machine's own name often stands for the loopback.
std::string addressTowards(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  std::string address;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return address;
  for (const addrinfo* entry = found; entry != nullptr && address.empty(); entry = entry->ai_next) {
    const int handle = socket(entry->ai_family, entry->ai_socktype, entry->ai_protocol);
    if (handle < 0) continue;
    sockaddr_storage own{};
    socklen_t size = sizeof own;
    char name[NI_MAXHOST] = "";
    // A datagram socket sends nothing here: it only finds the way.
    if (connect(handle, entry->ai_addr, entry->ai_addrlen) == 0 &&
        getsockname(handle, reinterpret_cast<sockaddr*>(&own), &size) == 0 &&
        getnameinfo(reinterpret_cast<sockaddr*>(&own), size, name, sizeof name, nullptr, 0, NI_NUMERICHOST) ==
            0)
      address = name;
    ::close(handle);
  }
  freeaddrinfo(found);
  return address;
}

c10::intrusive_ptr<c10d::ProcessGroupGloo::Options> glooOptions(const GroupOptions& options) {
  const std::string address = addressTowards(options.host, options.port);
  if (std::getenv("GLOO_SOCKET_IFNAME") != nullptr || address.empty())
    return c10d::ProcessGroupGloo::Options::create_default(options.timeout);
  auto made = c10d::ProcessGroupGloo::Options::create(options.timeout);
  made->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(address));
  return made;
}

// A point of time to wait for. By another clock, waiting needs a newer glibc.
std::chrono::system_clock::time_point inSystemTime(std::chrono::milliseconds from) {
  return std::chrono::system_clock::now() + from;
}

// What the store says, or nothing where it does not answer within 2 s: its client waits for ever on a broken
// line.
std::string askSoon(std::function<std::string()> ask) {
  struct Answer {
    std::mutex mutex;
    std::condition_variable given;
    std::optional<std::string> text;
  };
  auto answer = std::make_shared<Answer>();
  std::thread([answer, ask = std::move(ask)] {
    std::string text;
    try {
      text = ask();
    } catch (const std::exception&) {
      // The store is gone, with the rank that held it.
    }
    std::lock_guard<std::mutex> lock(answer->mutex);
    answer->text = std::move(text);
    answer->given.notify_all();
  }).detach();
  std::unique_lock<std::mutex> lock(answer->mutex);
  answer->given.wait_until(lock, inSystemTime(std::chrono::seconds(2)),
                           [&] { return answer->text.has_value(); });
  return answer->text.value_or("");
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

// What connects a process to the others.
struct Connection {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::Backend> gloo;
};

Connection connectTo(const GroupOptions& options) {
  Connection made;
  try {
    c10d::TCPStoreOptions store;
    store.port = options.port;
    store.isServer = options.server;
    if (options.server) store.numWorkers = static_cast<size_t>(options.size);
    store.waitWorkers = false;  // Gloo waits below
    store.timeout = options.timeout;
    store.multiTenant = true;
    // With libuv the store would run on the libuv of the node executable, whose symbols come before
    // libtorch's own.
    store.useLibUV = false;
    made.store = c10::make_intrusive<c10d::PrefixStore>(
        options.prefix, c10::make_intrusive<c10d::TCPStore>(options.host, store));
  } catch (const std::exception& error) {
    fail("DISTRIBUTED", "rank ", options.rank, " of ", options.size,
         options.server ? " could not open the ranks' store at " : " did not reach the ranks' store at ",
         options.host, ":", options.port, ": ", textOf(error));
  }
  try {
    made.gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(
        c10::make_intrusive<c10d::PrefixStore>("gloo", made.store), options.rank, options.size,
        glooOptions(options));
  } catch (const std::exception& error) {
    fail("DISTRIBUTED", "rank ", options.rank, " of ", options.size, " did not meet the others within ",
         std::chrono::duration<double>(options.timeout).count(), " s: ", textOf(error));
  }
  return made;
}

}  // namespace

Group::Group(GroupOptions options) : options_(std::move(options)) {}

Group::~Group() { close(); }

// On a thread of its own, since nothing else can leave it: a process that is to exit does not wait for it.
void Group::connect() {
  struct State {
    std::mutex mutex;
    std::condition_variable ended;
    bool done = false;
    Connection made;
    std::exception_ptr error;
  };
  auto state = std::make_shared<State>();
  std::thread([state, options = options_] {
    Connection made;
    std::exception_ptr error;
    try {
      made = connectTo(options);
    } catch (...) {
      error = std::current_exception();
    }
    std::lock_guard<std::mutex> lock(state->mutex);
    state->made = std::move(made);
    state->error = error;
    state->done = true;
    state->ended.notify_all();
  }).detach();
  std::unique_lock<std::mutex> lock(state->mutex);
  while (!state->done) {
    state->ended.wait_until(lock, inSystemTime(std::chrono::milliseconds(20)));
    require(!stopped_, "ABORTED", "meeting the other ranks was stopped: the process exits");
  }
  if (state->error) std::rethrow_exception(state->error);
  store_ = std::move(state->made.store);
  group_ = c10::make_intrusive<c10d::ProcessGroup>(store_, rank(), size());
  group_->setBackend(c10::DeviceType::CPU, c10d::ProcessGroup::BackendType::GLOO, state->made.gloo);
  group_->setDefaultBackend(c10d::ProcessGroup::BackendType::GLOO);
  group_->setGroupName("gradcache");
}

void Group::join() {
  // Its warnings, a line for each try, would hide what an error says in the end.
  setenv("TORCH_CPP_LOG_LEVEL", "ERROR", /*overwrite=*/0);
  connect();
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

// Calls an operator whose last result is the work, and waits for that.
void Group::run(const char* name, torch::jit::Stack stack, const std::string& what) {
  require(!stopped_, "ABORTED", what, " was stopped: the process exits");
  require(failure_.empty(), "DISTRIBUTED", "the ranks do not work together any more: ", failure_);
  require(group_ != nullptr, "DISPOSED", "the ranks were used after close()");
  try {
    const c10::OptionalDeviceGuard onDevice(device().is_cuda() ? device() : c10::Device(at::kCPU));
    operatorNamed(name).callBoxed(stack);
    auto work = stack.back().toCustomClass<c10d::Work>();
    // wait() could not be left by a process that is to exit. It would not hear of another rank's end either:
    // the connections of Gloo break then, and NCCL's kernels wait on.
    using Clock = std::chrono::steady_clock;
    const auto deadline = Clock::now() + options_.timeout;
    auto look = Clock::now() + std::chrono::seconds(1);
    for (int times = 0; !work->isCompleted() && Clock::now() < deadline; ++times) {
      require(!stopped_, "ABORTED", what, " was stopped: the process exits");
      if (nccl_ != nullptr && Clock::now() > look) {
        const std::string reason = reasonOfPeer(1);
        if (!reason.empty()) failed(what, reason);
        look = Clock::now() + std::chrono::seconds(2);
      }
      std::this_thread::sleep_for(std::chrono::microseconds(times < 100 ? 20 : 500));
    }
    work->wait();
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
    if (flat.numel() > 0) run("c10d::_allgather_base_", {flat, own, group_, true, int64_t{-1}}, what);
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
    run("c10d::_reduce_scatter_base_", {own, flat, group_, reductionOf(Reduction::kSum), true, int64_t{-1}},
        what);
    return;
  }
  for (int k = 0; k < size(); ++k) {
    const at::Tensor rows = flat.narrow(0, sum(counts, k), counts[k]);
    if (rows.numel() == 0) continue;
    run("c10d::reduce_",
        {std::vector<at::Tensor>{rows}, group_, reductionOf(Reduction::kSum), int64_t{k}, int64_t{0}, true,
         int64_t{-1}},
        what);
  }
}

void Group::allReduce(const at::Tensor& tensor, Reduction reduction, const std::string& what) {
  at::NoGradGuard withoutGraph;
  const at::Tensor dense = tensor.detach().contiguous();
  run("c10d::allreduce_",
      {std::vector<at::Tensor>{dense}, group_, reductionOf(reduction), c10::IValue(), true, int64_t{-1}},
      what);
  if (!tensor.is_contiguous()) tensor.detach().copy_(dense);
  tensor.unsafeGetTensorImpl()->bump_version();
}

void Group::broadcast(const at::Tensor& tensor, int root, const std::string& what) {
  at::NoGradGuard withoutGraph;
  const at::Tensor dense = tensor.detach().contiguous();
  run("c10d::broadcast_",
      {std::vector<at::Tensor>{dense}, group_, int64_t{root}, int64_t{0}, true, int64_t{-1}}, what);
  if (!tensor.is_contiguous()) tensor.detach().copy_(dense);
  tensor.unsafeGetTensorImpl()->bump_version();
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
  const bool broken = stopped_ || !failure_.empty();
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
    static_cast<void>(group_.release());
    static_cast<void>(store_.release());
  }
  group_.reset();
  nccl_.reset();
  store_.reset();
}

}  // namespace gradcache::distributed
