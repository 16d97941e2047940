#include "core/products.h"

#include <ATen/Context.h>

#include <mutex>
#include <optional>

namespace gradcache {

namespace {

// What this thread does.
struct Thread {
  Products products = Products::kExact;
  std::optional<at::NoTF32Guard> exact;
};

Thread& thisThread() {
  static thread_local Thread thread;
  return thread;
}

// libtorch's switch, which is set back when the last of those who need it on leaves.
class Switch {
 public:
  static Switch& get() {
    static Switch instance;
    return instance;
  }

  void enter() {
    const std::lock_guard lock(mutex_);
    if (users_++ > 0) return;
    before_ = at::globalContext().allowTF32CuBLAS();
    if (!before_) at::globalContext().setAllowTF32CuBLAS(true);
  }

  void leave() {
    const std::lock_guard lock(mutex_);
    if (--users_ == 0 && !before_) at::globalContext().setAllowTF32CuBLAS(false);
  }

 private:
  std::mutex mutex_;
  int users_ = 0;
  bool before_ = false;
};

void keep(bool exact) {
  auto& guard = thisThread().exact;
  if (!exact) {
    guard.reset();
  } else if (!guard) {
    guard.emplace();
  }
}

}  // namespace

ProductScope::ProductScope(Products products)
    : products_(products), before_(thisThread().products), wasKept_(thisThread().exact.has_value()) {
  if (products == Products::kTf32) Switch::get().enter();
  thisThread().products = products;
  keep(products == Products::kExact);
}

ProductScope::~ProductScope() {
  thisThread().products = before_;
  keep(wasKept_);
  if (products_ == Products::kTf32) Switch::get().leave();
}

Products ProductScope::current() { return thisThread().products; }

void keepProductsExact() { keep(true); }

}  // namespace gradcache
