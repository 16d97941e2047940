#include "engine/engine.h"

#include <ATen/Context.h>

#include <system_error>
#include <utility>

#include "core/error.h"

namespace gradcache {

Engine::~Engine() { shutdown(); }

void Engine::submit(uint64_t group, Job job) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!stopping_) {
      // First the thread: where the system has none left, nothing was queued.
      if (!thread_.joinable()) start();
      queue_.push_back({group, false, std::move(job)});
      wake_.notify_one();
      return;
    }
  }
  job(true);
}

void Engine::start() {
  try {
    thread_ = std::thread(&Engine::run, this);
  } catch (const std::system_error& error) {
    fail("OUT_OF_MEMORY", "the system gives this process no further thread: ", error.what());
  }
}

void Engine::cancel(uint64_t group) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (auto& entry : queue_) {
    if (entry.group == group) entry.cancelled = true;
  }
}

void Engine::shutdown() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    for (auto& entry : queue_) entry.cancelled = true;
    wake_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void Engine::run() {
  // Of a loss near zero the gradients are subnormal numbers, and with those a CPU computes up to a hundred
  // times slower. On this thread, and those that OpenMP starts from it, they are zeros.
  at::globalContext().setFlushDenormal(true);
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Entry entry = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    entry.job(entry.cancelled);
    entry.job = nullptr;  // what the job captured is freed before the next one is looked at
    lock.lock();
  }
}

}  // namespace gradcache
