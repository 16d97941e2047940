// A loop over the tokens' places: in each round one token of every sequence that has one there. Only what the
// cell depends on is in the loop, gates and outputs are worked out for all tokens at once.
#include <algorithm>
#include <array>
#include <numeric>

#include "kernels/dropout/dropout.h"
#include "kernels/operators/arguments.h"
#include "kernels/recurrence/versions.h"

namespace gradcache::kernels::composite {

namespace {

// Which rows a round works on. Sequences are taken in order of length, longest first, so that those that
// still have tokens come first.
class Rounds {
 public:
  Rounds(const Sequences& sequences, const at::Tensor& rows, bool reverse)
      : count_(static_cast<int64_t>(sequences.offsets.size()) - 1), reverse_(reverse) {
    const auto& offsets = sequences.offsets;
    std::vector<int64_t> order(static_cast<size_t>(count_));
    std::iota(order.begin(), order.end(), 0);
    const auto length = [&](int64_t s) { return offsets[s + 1] - offsets[s]; };
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return length(a) > length(b); });
    std::vector<int64_t> first;
    for (int64_t s : order) {
      lengths_.push_back(length(s));
      first.push_back(reverse ? offsets[s + 1] - 1 : offsets[s]);
    }
    const auto onDevice = [&](const std::vector<int64_t>& values) {
      return at::tensor(at::ArrayRef<int64_t>(values), at::kLong).to(rows.device());
    };
    order_ = onDevice(order);
    first_ = onDevice(first);
  }

  int64_t rounds() const { return lengths_.empty() ? 0 : lengths_.front(); }
  // How many sequences have a token in that round.
  int64_t running(int64_t round) const {
    return std::partition_point(lengths_.begin(), lengths_.end(),
                                [&](int64_t length) { return length > round; }) -
           lengths_.begin();
  }
  at::Tensor rows(int64_t round) const {
    return first_.narrow(0, 0, running(round)).add(reverse_ ? -round : round);
  }

  // [n, D] into the order of lengths, and back.
  at::Tensor ordered(const at::Tensor& states) const { return states.index_select(0, order_); }
  at::Tensor inTurn(const at::Tensor& states) const {
    return at::empty_like(states).index_copy_(0, order_, states);
  }

  // [T, D]: for each token the cell before it; `states` [n, D] in the order of lengths.
  at::Tensor before(const at::Tensor& cells, const at::Tensor& states) const {
    const int64_t starting = running(0);
    return cells.roll(reverse_ ? -1 : 1, 0)
        .index_copy_(0, first_.narrow(0, 0, starting), states.narrow(0, 0, starting));
  }

 private:
  int64_t count_;
  bool reverse_;
  std::vector<int64_t> lengths_;
  at::Tensor order_, first_;
};

at::Tensor oneMinus(const at::Tensor& tensor) { return at::rsub(tensor, 1); }

at::Tensor zerosIfUndefined(const at::Tensor& tensor, at::IntArrayRef shape,
                            const at::TensorOptions& options) {
  return tensor.defined() ? tensor.to(options.dtype().toScalarType()) : at::zeros(shape, options);
}

// [T, D] factors of the outputs; undefined where nothing drops out.
at::Tensor maskOf(const RecurrenceInputs& inputs, const Sequences& sequences,
                  const RecurrenceOptions& options) {
  if (!options.mask.active()) return {};
  const int64_t tokens = inputs.u.size(0);
  at::Tensor numbers = at::arange(tokens, inputs.u.options().dtype(at::kLong));
  if (!options.maskPerToken) {
    at::Tensor lengths = sequences.deviceOffsets.diff().to(at::kLong);
    numbers = at::repeat_interleave(at::arange(lengths.size(0), numbers.options()), lengths, 0, tokens);
  }
  at::Tensor ones = at::ones({tokens, inputs.width(options)}, inputs.u.options().dtype(wideType(inputs.u)));
  return dropoutOfRows(ones, numbers, options.mask);
}

// One direction's share of the columns, in the wide type.
struct OneWay {
  RecurrenceOptions options;
  bool reverse;
  int64_t from, width;                                // its columns of D
  at::Tensor candidate{}, forget{}, reset{}, skip{};  // [T, width]; the last two may be undefined
  at::Tensor cellWeights{}, bias{};                   // [gates, width]
  at::Tensor mask{};                                  // [T, width] or undefined

  at::Tensor columns(const at::Tensor& tensor) const {
    return tensor.defined() ? tensor.narrow(1, from, width) : tensor;
  }
  // x, or undefined.
  at::Tensor scaledSkip() const {
    return skip.defined() && options.skipScale != 1 ? skip.mul(options.skipScale) : skip;
  }
  at::Tensor gate(int64_t index, const at::Tensor& before) const {
    const at::Tensor& own = index == 0 ? forget : reset;
    return own.addcmul(cellWeights[index], before).add_(bias[index]).sigmoid_();
  }
};

std::vector<OneWay> ways(const RecurrenceInputs& inputs, const Sequences& sequences,
                         const RecurrenceOptions& options) {
  const at::TensorOptions wide = inputs.u.options().dtype(wideType(inputs.u));
  const at::ScalarType type = wideType(inputs.u);
  const int64_t width = inputs.width(options), gates = std::min<int64_t>(options.projections - 1, 2);
  const at::Tensor mask = maskOf(inputs, sequences, options);
  const at::Tensor cellWeights = zerosIfUndefined(inputs.cellWeights, {gates, width}, wide),
                   bias = zerosIfUndefined(inputs.bias, {gates, width}, wide);
  const int64_t count = options.direction == Direction::kBoth ? 2 : 1, own = width / count;
  std::vector<OneWay> result;
  for (int64_t k = 0; k < count; ++k) {
    const auto block = [&](int64_t number) {
      return inputs.u.narrow(1, (k * options.projections + number) * own, own).to(type);
    };
    OneWay way{options, options.direction == Direction::kReverse || k == 1, k * own, own};
    way.candidate = options.tanhCandidate ? block(0).tanh() : block(0);
    way.forget = block(1);
    if (options.projections > 2) way.reset = block(2);
    if (options.projections > 3) way.skip = block(3);
    if (inputs.skip.defined()) way.skip = way.columns(inputs.skip).to(type);
    way.cellWeights = way.columns(cellWeights);
    way.bias = way.columns(bias);
    way.mask = way.columns(mask);
    result.push_back(std::move(way));
  }
  return result;
}

struct OneWayResult {
  at::Tensor h, cells, last;  // wide; `last` in the sequences' own order
};

OneWayResult forward(const OneWay& way, const Rounds& rounds, const at::Tensor& state) {
  at::Tensor running = rounds.ordered(state), cells = at::empty_like(way.forget);
  const at::Tensor start = running.clone();
  for (int64_t round = 0; round < rounds.rounds(); ++round) {
    const at::Tensor rows = rounds.rows(round);
    at::Tensor cell = running.narrow(0, 0, rows.size(0));
    const at::Tensor f =
        way.forget.index_select(0, rows).addcmul_(way.cellWeights[0], cell).add_(way.bias[0]).sigmoid_();
    const at::Tensor candidate = way.candidate.index_select(0, rows);
    cell.sub_(candidate).mul_(f).add_(candidate);
    cells.index_copy_(0, rows, cell);
  }
  at::Tensor h;
  if (way.reset.defined()) {
    const at::Tensor r = way.gate(1, rounds.before(cells, start)), x = way.scaledSkip();
    h = x.defined() ? cells.sub(x).mul_(r) : cells.mul(r);
    if (way.mask.defined()) h.mul_(way.mask);
    if (x.defined()) h.add_(x);
  } else {
    h = way.mask.defined() ? cells.mul(way.mask) : cells.clone();
  }
  return {h, cells, rounds.inTurn(running)};
}

struct OneWayGradients {
  std::vector<at::Tensor> u;  // a tensor a block
  at::Tensor skip, state, cellWeights, bias;
};

OneWayGradients backward(const OneWay& way, const Rounds& rounds, const at::Tensor& dh,
                         const at::Tensor& dlast, const at::Tensor& cells, const at::Tensor& state) {
  const at::Tensor before = rounds.before(cells, rounds.ordered(state));
  const at::Tensor f = way.gate(0, before), x = way.scaledSkip();
  const at::Tensor slope = f.mul(oneMinus(f)).mul_(before.sub(way.candidate));  // dc/d(u_1)

  OneWayGradients result;
  // With g = dL/dc, as far as later tokens and this one's own output are concerned: the gradient of the cell
  // before is g * carry, and what reaches it through the reset gate.
  at::Tensor g = way.mask.defined() ? dh.mul(way.mask) : dh.clone(), dreset;
  at::Tensor dx;
  if (way.reset.defined()) {
    const at::Tensor r = way.gate(1, before), output = x.defined() ? cells.sub(x) : cells;
    dreset = g.mul(output).mul_(r).mul_(oneMinus(r));
    g.mul_(r);
    if (x.defined()) dx = dh.sub(g);
  }
  const at::Tensor carry = slope.mul(way.cellWeights[0]).add_(f);
  const at::Tensor across = dreset.defined() ? dreset.mul(way.cellWeights[1]) : dreset;
  at::Tensor running = rounds.ordered(dlast);
  for (int64_t round = rounds.rounds() - 1; round >= 0; --round) {
    const at::Tensor rows = rounds.rows(round);
    at::Tensor gradient = running.narrow(0, 0, rows.size(0));
    gradient.add_(g.index_select(0, rows));
    g.index_copy_(0, rows, gradient);
    gradient.mul_(carry.index_select(0, rows));
    if (across.defined()) gradient.add_(across.index_select(0, rows));
  }

  const at::Tensor dforget = g.mul(slope);
  at::Tensor dcandidate = g.mul_(oneMinus(f));
  if (way.options.tanhCandidate) dcandidate.mul_(oneMinus(way.candidate.square()));
  result.u = {dcandidate, dforget};
  std::vector<at::Tensor> weights{dforget.mul(before).sum(0)}, bias{dforget.sum(0)};
  if (dreset.defined()) {
    result.u.push_back(dreset);
    weights.push_back(dreset.mul(before).sum(0));
    bias.push_back(dreset.sum(0));
  }
  if (dx.defined()) {
    if (way.options.skipScale != 1) dx.mul_(way.options.skipScale);
    if (way.options.projections > 3)
      result.u.push_back(dx);
    else
      result.skip = dx;
  }
  result.cellWeights = at::stack(weights);
  result.bias = at::stack(bias);
  result.state = rounds.inTurn(running);
  return result;
}

at::Tensor joined(const std::vector<at::Tensor>& parts, at::ScalarType type) {
  return (parts.size() == 1 ? parts[0] : at::cat(parts, 1)).to(type).contiguous();
}

}  // namespace

Recurrence recurrence(const RecurrenceInputs& inputs, const Sequences& sequences,
                      const RecurrenceOptions& options, bool save) {
  const at::TensorOptions wide = inputs.u.options().dtype(wideType(inputs.u));
  const int64_t count = static_cast<int64_t>(sequences.offsets.size()) - 1;
  const at::Tensor state = zerosIfUndefined(inputs.state, {count, inputs.width(options)}, wide);
  std::vector<at::Tensor> h, cells, last;
  for (const OneWay& way : ways(inputs, sequences, options)) {
    const OneWayResult result = forward(way, Rounds(sequences, inputs.u, way.reverse), way.columns(state));
    h.push_back(result.h);
    cells.push_back(result.cells);
    last.push_back(result.last);
  }
  const at::ScalarType type = inputs.u.scalar_type();
  Recurrence result{joined(h, type), {}, joined(last, wideType(inputs.u))};
  if (save) result.cells = joined(cells, type);
  return result;
}

RecurrenceGradients recurrenceBackward(const at::Tensor& dh, const at::Tensor& dlast,
                                       const RecurrenceInputs& inputs, const Recurrence& saved,
                                       const Sequences& sequences, const RecurrenceOptions& options,
                                       const at::Tensor& cellWeightsGradient,
                                       const at::Tensor& biasGradient) {
  const at::TensorOptions wide = inputs.u.options().dtype(wideType(inputs.u));
  const at::ScalarType type = wideType(inputs.u);
  const std::array<int64_t, 2> shape{static_cast<int64_t>(sequences.offsets.size()) - 1,
                                     inputs.width(options)};
  const at::Tensor state = zerosIfUndefined(inputs.state, shape, wide),
                   handedOn = zerosIfUndefined(dlast, shape, wide);
  std::vector<at::Tensor> u, skip, dstate, weights, bias;
  for (const OneWay& way : ways(inputs, sequences, options)) {
    OneWayGradients result =
        backward(way, Rounds(sequences, inputs.u, way.reverse), way.columns(dh).to(type),
                 way.columns(handedOn), way.columns(saved.cells).to(type), way.columns(state));
    u.insert(u.end(), result.u.begin(), result.u.end());
    if (result.skip.defined()) skip.push_back(result.skip);
    dstate.push_back(result.state);
    weights.push_back(result.cellWeights);
    bias.push_back(result.bias);
  }
  if (cellWeightsGradient.defined()) cellWeightsGradient.add_(joined(weights, type));
  if (biasGradient.defined()) biasGradient.add_(joined(bias, type));
  const at::ScalarType compute = inputs.u.scalar_type();
  return {joined(u, compute), skip.empty() ? at::Tensor() : joined(skip, compute), joined(dstate, type)};
}

}  // namespace gradcache::kernels::composite
