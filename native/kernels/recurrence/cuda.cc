#include "kernels/cuda/rows.h"
#include "kernels/recurrence/versions.h"

namespace gradcache::kernels::cuda {

namespace {

GradcacheRecurrence describe(const RecurrenceInputs& inputs, const Sequences& sequences,
                             const RecurrenceOptions& options) {
  GradcacheRecurrence r{};
  r.type = typeOf(inputs.u.scalar_type());
  r.offsets = sequences.deviceOffsets.const_data_ptr<int32_t>();
  r.sequences = static_cast<int32_t>(sequences.offsets.size()) - 1;
  r.tokens = inputs.u.size(0);
  r.width = inputs.width(options);
  r.projections = static_cast<int32_t>(options.projections);
  r.direction = static_cast<int32_t>(options.direction);
  r.tanhCandidate = options.tanhCandidate;
  r.maskPerToken = options.maskPerToken;
  r.skipScale = static_cast<float>(options.skipScale);
  r.mask = options.mask;
  r.u = input(inputs.u);
  r.skip = input(inputs.skip);
  r.cellWeights = input(inputs.cellWeights);
  r.bias = input(inputs.bias);
  r.state = floats(inputs.state);
  r.stream = currentStream(inputs.u.device());
  return r;
}

}  // namespace

bool takesRecurrence(const at::Tensor& u, const RecurrenceOptions& options) {
  const int64_t ways = options.direction == Direction::kBoth ? 2 : 1;
  return u.is_cuda() && libraryIsOpen() && isStored(u.scalar_type()) &&
         u.size(1) % (8 * ways * options.projections) == 0;
}

Recurrence recurrence(const RecurrenceInputs& inputs, const Sequences& sequences,
                      const RecurrenceOptions& options, bool save) {
  const GradcacheRecurrence r = describe(inputs, sequences, options);
  const at::TensorOptions type = inputs.u.options();
  Recurrence result{at::empty({r.tokens, r.width}, type),
                    {},
                    at::empty({int64_t{r.sequences}, r.width}, type.dtype(at::kFloat))};
  if (save) result.cells = at::empty_like(result.h);
  check(library().recurrenceForward(&r, output(result.h), output(result.cells), floats(result.last)),
        "recurrence");
  return result;
}

RecurrenceGradients recurrenceBackward(const at::Tensor& dh, const at::Tensor& dlast,
                                       const RecurrenceInputs& inputs, const Recurrence& saved,
                                       const Sequences& sequences, const RecurrenceOptions& options,
                                       const at::Tensor& cellWeightsGradient,
                                       const at::Tensor& biasGradient) {
  const GradcacheRecurrence r = describe(inputs, sequences, options);
  const at::Tensor gradient = dh.contiguous(), handedOn = dlast.defined() ? dlast.contiguous() : dlast;
  RecurrenceGradients result{
      at::empty_like(inputs.u),
      {},
      at::empty({int64_t{r.sequences}, r.width}, inputs.u.options().dtype(at::kFloat))};
  if (inputs.skip.defined()) result.skip = at::empty_like(inputs.skip);
  const at::Tensor work = scratch(library().recurrenceBackwardScratch(&r), gradient);
  check(library().recurrenceBackward(&r, input(gradient), floats(handedOn), input(saved.cells),
                                     output(result.u), output(result.skip), floats(result.state),
                                     floats(cellWeightsGradient), floats(biasGradient), output(work)),
        "recurrence backward");
  return result;
}

}  // namespace gradcache::kernels::cuda
