#include "engine/queues.h"

#include <algorithm>
#include <utility>

namespace gradcache {

Queues::~Queues() { shutdown(); }

void Queues::submit(uint64_t group, const std::vector<int>& queues, Job job) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!stopping_) {
      const auto entry = std::make_shared<Entry>(Entry{group, queues, std::move(job)});
      // All that may fail comes first, before anything is queued.
      std::vector<std::pair<Queue*, std::list<std::shared_ptr<Entry>>>> places;
      for (int name : queues) places.emplace_back(&queues_[name], std::list{entry});
      std::thread& worker = places.front().first->thread;
      if (!worker.joinable()) worker = std::thread(&Queues::run, this, queues.front());
      for (auto& [queue, place] : places) queue->entries.splice(queue->entries.end(), place);
      changed_.notify_all();
      return;
    }
  }
  job(true);
}

void Queues::cancel(uint64_t group) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (auto& [name, queue] : queues_) {
    for (auto& entry : queue.entries) entry->cancelled = entry->cancelled || entry->group == group;
  }
}

void Queues::shutdown() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    for (auto& [name, queue] : queues_) {
      for (auto& entry : queue.entries) entry->cancelled = true;
    }
    changed_.notify_all();
  }
  for (auto& [name, queue] : queues_) {
    if (queue.thread.joinable()) queue.thread.join();
  }
}

std::vector<int> Queues::started() {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<int> names;
  for (auto& [name, queue] : queues_) {
    if (queue.thread.joinable()) names.push_back(name);
  }
  return names;
}

std::shared_ptr<Queues::Entry> Queues::next(int name) {
  const auto& entries = queues_[name].entries;
  if (entries.empty() || entries.front()->queues.front() != name) return nullptr;
  const std::shared_ptr<Entry>& entry = entries.front();
  const bool first = std::all_of(entry->queues.begin(), entry->queues.end(),
                                 [&](int other) { return queues_[other].entries.front() == entry; });
  return first ? entry : nullptr;
}

void Queues::run(int name) {
  begin_();
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    std::shared_ptr<Entry> entry;
    changed_.wait(lock, [&] {
      entry = next(name);
      return entry != nullptr || (stopping_ && queues_[name].entries.empty());
    });
    if (entry == nullptr) return;
    const bool cancelled = entry->cancelled;
    lock.unlock();
    entry->job(cancelled);
    entry->job = nullptr;  // what the job captured is freed before the next one is looked at
    lock.lock();
    for (int other : entry->queues) queues_[other].entries.pop_front();
    changed_.notify_all();
  }
}

}  // namespace gradcache
