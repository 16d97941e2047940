// How far a backward has come, for whoever sends the gradients of layers off while those below still compute.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>

namespace gradcache {

// A backward writes it on its engine's thread, or on one of libtorch's; the JavaScript thread reads it.
class BackwardProgress {
 public:
  // For the time of a backward after which no other one adds to the gradients.
  class Last {
   public:
    explicit Last(BackwardProgress& progress) : progress_(progress) { progress_.last_ = true; }
    ~Last() { progress_.last_ = false; }
    Last(const Last&) = delete;
    Last& operator=(const Last&) = delete;

   private:
    BackwardProgress& progress_;
  };

  // Nothing is final.
  void reset() { from_ = kNothing; }
  // Of the flat gradients those from this element on are final.
  int64_t finalFrom() const { return from_; }
  // Blocks call it from the last to the first.
  void reached(int64_t element) {
    if (last_) from_ = element;
  }

 private:
  static constexpr int64_t kNothing = std::numeric_limits<int64_t>::max();

  std::atomic<int64_t> from_{kNothing};
  std::atomic<bool> last_{false};
};

}  // namespace gradcache
