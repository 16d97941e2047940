#include "blocks/qrnn_layer.h"

#include <cmath>
#include <utility>

#include "kernels/rows/rows.h"
#include "model/sequence_rows.h"

namespace gradcache {

namespace {

struct LayerTape {
  Stream input;
  at::Tensor u;
  kernels::Recurrence cells;  // without h
};

Initial gatesInitial(const QrnnLayer::Options& options) {
  return Initial::uniform(1 / std::sqrt(static_cast<double>(options.window * options.in)));
}

}  // namespace

QrnnLayer::QrnnLayer(const std::string& name, const Options& options, Builder& builder)
    : options_(options),
      gates_(builder.parameters, {name + ".gates"}, options.window * options.in,
             (options.outputGate ? 3 : 2) * options.width, /*bias=*/true, gatesInitial(options),
             gatesInitial(options), builder.dropout(options.weightDropout)),
      dropout_(builder.dropout(options.dropout)),
      state_(builder.carry(CarriedKind::kState, options.width)) {
  require(options.window == 1 || options.window == 2, "CHECKPOINT", "a QRNN's window is ", options.window,
          ", it must be 1 or 2");
  if (options.window == 2) before_ = builder.carry(CarriedKind::kState, options.in);
}

at::Tensor QrnnLayer::windows(const at::Tensor& x, const Pass& pass) const {
  if (!before_) return x;
  at::Tensor shifted = x.roll(1, 0);
  if (const at::Tensor before = before_->before(pass); before.defined())
    shifted.index_copy_(0, firstTokens(pass), before.to(x.scalar_type()));
  else
    shifted.index_fill_(0, firstTokens(pass), 0);
  return at::cat({x, shifted}, 1);
}

at::Tensor QrnnLayer::windowsBackward(const at::Tensor& dwindows, const Pass& pass) const {
  if (!before_) return dwindows;
  at::Tensor dx = dwindows.narrow(1, 0, options_.in).contiguous();
  at::Tensor dshifted = dwindows.narrow(1, options_.in, options_.in).contiguous();
  before_->setBeforeGradient(pass, dshifted.index_select(0, firstTokens(pass)).to(pass.wideType()));
  dx.add_(dshifted.index_fill_(0, firstTokens(pass), 0).roll(-1, 0));
  if (const at::Tensor after = before_->afterGradient(pass); after.defined())
    dx.index_add_(0, lastTokens(pass), after.to(dx.scalar_type()));
  return dx;
}

kernels::RecurrenceOptions QrnnLayer::kernelOptions(const Pass& pass) const {
  kernels::RecurrenceOptions options;
  options.projections = options_.outputGate ? 3 : 2;
  options.tanhCandidate = true;
  options.mask = dropout_.key(pass);
  return options;
}

kernels::RecurrenceInputs QrnnLayer::inputs(at::Tensor u, const Pass& pass) const {
  return {.u = std::move(u), .state = state_.before(pass)};
}

Stream QrnnLayer::forward(Stream x, const Pass& pass, Tape* tape) const {
  const bool save = tape != nullptr;
  at::Tensor u = gates_.forward(windows(x.rows, pass), pass);
  kernels::Recurrence cells =
      kernels::recurrence(inputs(u, pass), pass.sequences(), kernelOptions(pass), save);
  state_.setAfter(pass, cells.last);
  if (before_) before_->setAfter(pass, x.rows.index_select(0, lastTokens(pass)).to(pass.wideType()));
  Stream y{std::exchange(cells.h, {})};
  if (save) *tape = LayerTape{x.kept(), std::move(u), std::move(cells)};
  return y;
}

at::Tensor QrnnLayer::backward(const at::Tensor& dy, Tape kept, const Pass& pass) const {
  auto tape = std::any_cast<LayerTape>(std::move(kept));
  kernels::RecurrenceGradients cell =
      kernels::recurrenceBackward(dy, state_.afterGradient(pass), inputs(std::move(tape.u), pass), tape.cells,
                                  pass.sequences(), kernelOptions(pass), {}, {});
  tape.cells = {};
  state_.setBeforeGradient(pass, std::move(cell.state));
  kernels::addColumnSum(gates_.biasGradient(pass), cell.u);
  gates_.addWeightGradient(cell.u, windows(tape.input.recalled(), pass), pass);
  return windowsBackward(gates_.inputGradient(cell.u, pass), pass);
}

int64_t QrnnLayer::tapeBytes(const ChunkSize& chunk) const {
  // The gates, the cells, the output; the last state.
  const int64_t columns = (options_.outputGate ? 5 : 4) * options_.width;
  return chunk.tokens * columns * chunk.element + chunk.sequences * options_.width * chunk.wide;
}

}  // namespace gradcache
