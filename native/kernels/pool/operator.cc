// The operator gradcache::pool, with its graph.
#include "kernels/operators/library.h"
#include "kernels/pool/pool.h"

namespace gradcache::kernels {

namespace {

Tensor poolPlain(const Tensor& x, at::IntArrayRef offsets, std::string_view pooling, bool normalize) {
  const Tensor rows = rowsArgument("x", x);
  const SequencesArgument packed(offsets, rows);
  return pool(rows, packed.sequences(), poolingNamed(pooling), normalize).y;
}

struct PoolFunction : Function<PoolFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& x, at::IntArrayRef offsets,
                        std::string_view pooling, bool normalize) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor rows = rowsArgument("x", x);
    const SequencesArgument packed(offsets, rows);
    const Sequences sequences = packed.sequences();
    const Pooling chosen = poolingNamed(pooling);
    Pooled result = pool(rows, sequences, chosen, normalize);
    context->saved_data["pooling"] = static_cast<int64_t>(chosen);
    context->saved_data["type"] = static_cast<int64_t>(rows.scalar_type());
    context->saved_data["offsets"] = sequences.offsets;
    context->save_for_backward(
        {normalize ? result.y : Tensor(), result.norms, result.argmax, sequences.deviceOffsets});
    return result.y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const Tensor dy = incoming(gradients);
    const variable_list saved = context->get_saved_variables();
    const SequencesArgument packed(context->saved_data["offsets"].toIntVector(), saved[3]);
    const auto pooling = static_cast<Pooling>(context->saved_data["pooling"].toInt());
    const auto type = static_cast<at::ScalarType>(context->saved_data["type"].toInt());
    return {poolBackward(dy, {saved[0], saved[1], saved[2]}, packed.sequences(), pooling, type), {}, {}, {}};
  }
};

}  // namespace

void addPoolOperator(OperatorLibrary& library) {
  library.add<PoolFunction, poolPlain>("pool",
                                       "(Tensor x, int[] offsets, str pooling, bool normalize) -> Tensor");
}

}  // namespace gradcache::kernels
