// Calls that nothing can interrupt, such as those of c10d that wait for other processes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace gradcache::distributed {

// What `work` returns or throws, or nothing as soon as `leave` says so, which is asked every 20 ms. The work
// runs on a thread of its own and is left behind there: it must own all that it uses.
template <class Work, class Leave>
auto onOwnThread(Work work, const Leave& leave) -> std::optional<decltype(work())> {
  struct State {
    std::mutex mutex;
    std::condition_variable ended;
    std::optional<decltype(work())> result;
    std::exception_ptr error;
  };
  auto state = std::make_shared<State>();
  std::thread([state, work = std::move(work)] {
    std::optional<decltype(work())> result;
    std::exception_ptr error;
    try {
      result = work();
    } catch (...) {
      error = std::current_exception();
    }
    std::lock_guard<std::mutex> lock(state->mutex);
    state->result = std::move(result);
    state->error = error;
    state->ended.notify_all();
  }).detach();
  std::unique_lock<std::mutex> lock(state->mutex);
  while (!state->result && !state->error) {
    if (leave()) return std::nullopt;
    // By another clock, waiting needs a newer glibc.
    state->ended.wait_until(lock, std::chrono::system_clock::now() + std::chrono::milliseconds(20));
  }
  if (state->error) std::rethrow_exception(state->error);
  return std::move(state->result);
}

}  // namespace gradcache::distributed
