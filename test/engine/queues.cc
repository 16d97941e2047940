// What native/engine/queues.h promises, as a program that ends with 0 where all of it holds. queues.test.ts
// compiles it, with the compiler's watch for data races, and runs it.
#include "engine/queues.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <random>
#include <set>

namespace {

using gradcache::Queues;

void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::_Exit(1);
}

constexpr auto kSoon = std::chrono::seconds(20);

template <class T>
void reached(const std::shared_future<T>& future, const char* what) {
  check(future.wait_for(kSoon) == std::future_status::ready, what);
}

// A job that ends when it is told to.
struct Gate {
  std::promise<void> entered, opened;
  std::shared_future<void> inside = entered.get_future().share();
  std::shared_future<void> open = opened.get_future().share();
  Queues::Job job() {
    return [this](bool) {
      entered.set_value();
      reached(open, "a job under way is waited for");
    };
  }
};

void queuesRunBesideEachOther() {
  Queues queues([] {});
  Gate first, second;
  queues.submit(0, {1}, first.job());
  queues.submit(0, {2}, second.job());
  reached(first.inside, "the first queue begins");
  reached(second.inside, "the second queue begins before the first has ended");
  second.opened.set_value();
  first.opened.set_value();
  queues.shutdown();
}

void whatSpansTwoQueuesWaitsForBoth() {
  Queues queues([] {});
  Gate first, second;
  std::atomic<int> done{0};
  std::promise<std::thread::id> spanning;
  auto spanned = spanning.get_future().share();
  queues.submit(0, {1}, first.job());
  queues.submit(0, {2}, second.job());
  queues.submit(0, {1, 2}, [&](bool) {
    check(done++ == 0, "a job behind the one of both queues has not begun");
    spanning.set_value(std::this_thread::get_id());
  });
  queues.submit(0, {1}, [&](bool) {
    check(done++ > 0, "the first queue goes on behind it");
    check(std::this_thread::get_id() == spanned.get(), "it ran on the thread of the queue named first");
  });
  queues.submit(0, {2}, [&](bool) { check(done++ > 0, "the second queue goes on behind it"); });
  std::promise<void> besides;
  queues.submit(0, {3}, [&](bool) { besides.set_value(); });
  reached(besides.get_future().share(), "a third queue waits for none of it");
  first.opened.set_value();
  reached(first.inside, "the first queue is done");
  check(spanned.wait_for(std::chrono::milliseconds(20)) == std::future_status::timeout,
        "the job of both queues waits for the second");
  second.opened.set_value();
  reached(spanned, "the job of both queues runs");
  std::promise<void> end;
  queues.submit(0, {1, 2, 3}, [&](bool) { end.set_value(); });
  reached(end.get_future().share(), "all is done");
  check(done == 3, "each ran once");
  queues.shutdown();
}

// Jobs of any queues: each finds those before it done, in each of its queues. The counters are no atomics:
// where two jobs of a queue overlapped, the watch for races would tell.
void everyQueueKeepsItsOrder() {
  constexpr int kQueues = 4, kJobs = 4000;
  Queues queues([] {});
  std::mt19937 random(7);
  std::vector<int> submitted(kQueues), ended(kQueues);
  for (int k = 0; k < kJobs; ++k) {
    std::set<int> chosen;
    for (const unsigned most = random() % 3 == 0 ? kQueues : 1; chosen.size() < 1 + random() % most;)
      chosen.insert(static_cast<int>(random() % kQueues));
    std::vector<std::pair<int, int>> places;
    for (int queue : chosen) places.emplace_back(queue, submitted[queue]++);
    queues.submit(0, {chosen.begin(), chosen.end()}, [places, &ended](bool cancelled) {
      check(!cancelled, "nothing is cancelled");
      for (auto [queue, place] : places) check(ended[queue]++ == place, "jobs of a queue keep their order");
    });
  }
  std::promise<void> end;
  queues.submit(0, {0, 1, 2, 3}, [&](bool) { end.set_value(); });
  reached(end.get_future().share(), "no two jobs wait for each other");
  check(submitted == ended, "every job ran");
  queues.shutdown();
}

void aGroupIsCancelledInAllQueues() {
  Queues queues([] {});
  Gate first, second;
  std::atomic<int> cancelled{0}, ran{0};
  const auto count = [&](bool not_run) { ++(not_run ? cancelled : ran); };
  queues.submit(5, {1}, first.job());
  queues.submit(6, {2}, second.job());
  reached(first.inside, "the first queue is at work");
  reached(second.inside, "the second queue is at work");
  for (const auto& names : {std::vector<int>{1}, {2}, {1, 2}}) {
    queues.submit(5, names, count);
    queues.submit(0, names, count);
  }
  queues.cancel(5);
  first.opened.set_value();
  second.opened.set_value();
  std::promise<void> end;
  queues.submit(0, {1, 2}, [&](bool) { end.set_value(); });
  reached(end.get_future().share(), "all is done");
  check(cancelled == 3 && ran == 3, "the group's jobs are told, the others run");
  queues.shutdown();
}

void atTheEndEachJobIsToldOnce() {
  std::atomic<int> begun{0}, cancelled{0};
  Queues queues([&] { ++begun; });
  Gate first, second;
  queues.submit(0, {1}, first.job());
  queues.submit(0, {2}, second.job());
  reached(first.inside, "the first queue is at work");
  reached(second.inside, "the second queue is at work");
  const auto told = [&](bool not_run) { cancelled += not_run ? 1 : 100; };
  for (int k = 0; k < 30; ++k) queues.submit(0, {1 + k % 2, 3 + k % 3}, told);
  check(queues.started() == std::vector<int>({1, 2}), "a queue without jobs of its own has no thread");
  std::thread opener([&] {
    // Not before shutdown() has begun: from then on jobs are told at once, on the caller's thread.
    const auto self = std::this_thread::get_id();
    bool stopping = false;
    while (!stopping) {
      queues.submit(0, {1}, [&stopping, self](bool) {
        if (std::this_thread::get_id() == self) stopping = true;
      });
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    first.opened.set_value();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    second.opened.set_value();
  });
  queues.shutdown();
  opener.join();
  check(cancelled == 30, "each waiting job is told once that it does not run");
  queues.submit(0, {1, 9}, told);
  check(cancelled == 31, "what comes later is told at once");
  check(begun == 2 && queues.started().empty(), "each thread began once, and all have ended");
}

}  // namespace

int main() {
  queuesRunBesideEachOther();
  whatSpansTwoQueuesWaitsForBoth();
  everyQueueKeepsItsOrder();
  aGroupIsCancelledInAllQueues();
  atTheEndEachJobIsToldOnce();
}
