// The operator gradcache::dropout, with its graph.
#include "kernels/dropout/dropout.h"
#include "kernels/operators/library.h"

namespace gradcache::kernels {

namespace {

Tensor dropoutPlain(const Tensor& x, double p, int64_t seed, int64_t site) {
  const DropoutKey key = DropoutArgument{p, seed, site}.key();
  Tensor y = dropout(rowsArgument("x", x), key);
  return key.active() ? y : x.clone();  // a result of its own, which may be changed in place
}

struct DropoutFunction : Function<DropoutFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& x, double p, int64_t seed, int64_t site) {
    at::AutoDispatchBelowADInplaceOrView guard;
    keep(context, {p, seed, site});
    return dropoutPlain(x, p, seed, site);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    return {dropout(incoming(gradients), keptKey(context)), {}, {}, {}};
  }
};

}  // namespace

void addDropoutOperator(OperatorLibrary& library) {
  library.add<DropoutFunction, dropoutPlain>("dropout",
                                             "(Tensor x, float p, int seed, int site=0) -> Tensor");
}

}  // namespace gradcache::kernels
