// Bodies of code that all come to the same meetings, where something is done for all of them at once.
//
// Each body has a thread, but one runs at a time, and between two meetings they run in the order of their
// numbers: where processes compute a loss together, all do the same in the same order. A body that comes to a
// meeting waits there until the last one has come. What is done there runs in the thread that runs the
// bodies.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <vector>

namespace gradcache {

class Meetings {
 public:
  // Runs body(0) to body(count - 1), and `together` at each meeting. Throws what the first of them threw,
  // once all have ended; each of the others then ends at its next meeting.
  void run(int64_t count, const std::function<void(int64_t)>& body, const std::function<void()>& together);

  // Called by a body with its number: waits for all others, and for what is done together.
  void meet(int64_t body);

 private:
  struct Abandoned {};  // thrown out of the bodies that do not matter any more
  // The first body from `from` on that has not ended is the next to run.
  void passOn(int64_t from);

  std::mutex mutex_;  // held by whoever runs
  std::condition_variable allCame_, goOn_;
  int64_t came_ = 0, ended_ = 0, meetings_ = 0;
  int64_t next_ = 0;  // the body that may run
  std::vector<bool> hasEnded_;
  std::exception_ptr error_;
};

}  // namespace gradcache
