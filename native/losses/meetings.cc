#include "losses/meetings.h"

#include <ATen/ThreadLocalState.h>

#include <thread>

#include "core/error.h"

namespace gradcache {

void Meetings::run(int64_t count, const std::function<void(int64_t)>& body,
                   const std::function<void()>& together) {
  std::unique_lock lock(mutex_);
  const at::ThreadLocalState state;
  hasEnded_.assign(count, false);
  std::vector<std::thread> threads;
  try {
    for (int64_t k = 0; k < count; ++k) {
      threads.emplace_back([&, k] {
        std::unique_lock running(mutex_);
        const at::ThreadLocalStateGuard asHere(state);
        goOn_.wait(running, [&] { return next_ == k; });
        try {
          if (error_ == nullptr) body(k);
        } catch (const Abandoned&) {
        } catch (...) {
          if (error_ == nullptr) error_ = std::current_exception();
        }
        ++ended_;
        hasEnded_[k] = true;
        passOn(k + 1);
        allCame_.notify_one();
      });
    }
  } catch (...) {  // no more threads
    if (error_ == nullptr) error_ = std::current_exception();
  }
  const auto started = static_cast<int64_t>(threads.size());
  while (ended_ < started) {
    allCame_.wait(lock, [&] { return came_ + ended_ == started; });
    if (came_ > 0 && error_ == nullptr) {
      try {
        require(ended_ == 0, "INPUT", "a loss went over fewer tiles at some lengths than at others");
        together();
      } catch (...) {
        error_ = std::current_exception();
      }
    }
    came_ = 0;
    ++meetings_;
    passOn(0);
  }
  lock.unlock();
  for (std::thread& thread : threads) thread.join();
  if (error_ != nullptr) std::rethrow_exception(error_);
}

void Meetings::passOn(int64_t from) {
  next_ = from;
  while (next_ < static_cast<int64_t>(hasEnded_.size()) && hasEnded_[next_]) ++next_;
  goOn_.notify_all();
}

void Meetings::meet(int64_t body) {
  std::unique_lock running(mutex_, std::adopt_lock);  // of this body
  const int64_t now = meetings_;
  ++came_;
  passOn(body + 1);
  allCame_.notify_one();
  goOn_.wait(running, [&] { return meetings_ > now && next_ == body; });
  running.release();
  if (error_ != nullptr) throw Abandoned{};
}

}  // namespace gradcache
