// Bodies of code that all come to the same meetings, where something is done for all of them at once.
//
// Each body has a thread, but one runs at a time: a body that comes to a meeting waits there until the last
// one has come. What is done there runs in the thread that runs the bodies.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>

namespace gradcache {

class Meetings {
 public:
  // Runs body(0) to body(count - 1), and `together` at each meeting. Throws what the first of them threw,
  // once all have ended; each of the others then ends at its next meeting.
  void run(int64_t count, const std::function<void(int64_t)>& body, const std::function<void()>& together);

  // Called by a body: waits for all others, and for what is done together.
  void meet();

 private:
  struct Abandoned {};  // thrown out of the bodies that do not matter any more

  std::mutex mutex_;  // held by whoever runs
  std::condition_variable allCame_, goOn_;
  int64_t came_ = 0, ended_ = 0, meetings_ = 0;
  std::exception_ptr error_;
};

}  // namespace gradcache
