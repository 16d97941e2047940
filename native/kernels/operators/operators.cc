#include "kernels/operators/operators.h"

#include <memory>
#include <mutex>

#include "kernels/operators/library.h"

namespace gradcache::kernels {

// Each is in the folder of its kernel, in operator.cc.
void addDropoutOperator(OperatorLibrary& library);
void addNormOperator(OperatorLibrary& library);
void addActivationOperator(OperatorLibrary& library);
void addGateOperator(OperatorLibrary& library);
void addEmbedOperator(OperatorLibrary& library);
void addAttentionOperator(OperatorLibrary& library);
void addPoolOperator(OperatorLibrary& library);
void addSruOperator(OperatorLibrary& library);

void registerOperators() {
  static std::mutex mutex;
  static bool done = false;
  std::lock_guard<std::mutex> lock(mutex);
  if (done) return;
  const bool exist = c10::Dispatcher::singleton().findSchema({"gradcache::embed", ""}).has_value();
  if (!exist) {
    auto library = std::make_unique<OperatorLibrary>();
    for (auto add : {addDropoutOperator, addNormOperator, addActivationOperator, addGateOperator,
                     addEmbedOperator, addAttentionOperator, addPoolOperator, addSruOperator})
      add(*library);
    // Never unregistered: at the end of the process, libtorch may be gone before the addon.
    library.release();
  }
  done = true;
}

}  // namespace gradcache::kernels
