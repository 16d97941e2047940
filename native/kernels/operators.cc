#include "kernels/operators.h"

#include <memory>
#include <mutex>

#include "kernels/operator_library.h"

namespace gradcache::kernels {

void registerOperators() {
  static std::mutex mutex;
  static bool done = false;
  std::lock_guard<std::mutex> lock(mutex);
  if (done) return;
  const bool exist = c10::Dispatcher::singleton().findSchema({"gradcache::embed", ""}).has_value();
  if (!exist) {
    auto library = std::make_unique<OperatorLibrary>();
    addRowOperators(*library);
    addSequenceOperators(*library);
    // Never taken back: the addon stays mapped to the end of the process, and libtorch may be gone before it.
    library.release();
  }
  done = true;
}

}  // namespace gradcache::kernels
