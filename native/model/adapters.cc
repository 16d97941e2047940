#include "model/adapters.h"

#include <utility>

#include "kernels/dropout/dropout.h"
#include "kernels/room.h"
#include "model/products.h"

namespace gradcache {

namespace {

// A product with [W, scale * B; A, 0] costs the adapters' columns, and a copy of the rows that have no room
// for them; a product of the adapters' own reads and writes all of its result. So with a copy it pays where
// the result is so many times as wide as the rows.
constexpr int64_t kWideResult = 2;
constexpr int64_t kColumnsOfRow = 8;  // rows of bfloat16 begin at multiples of 16 bytes

int64_t filledUp(int64_t ranks) { return (ranks + kColumnsOfRow - 1) / kColumnsOfRow * kColumnsOfRow; }

}  // namespace

Adapters::Adapters(ParameterList& list, const std::vector<LinearPart>& parts, int64_t in, ParameterId matrix,
                   const Roomy& roomy)
    : in_(in), matrix_(matrix) {
  std::vector<ParameterSpec> joined, others;
  for (const auto& [name, out] : parts) {
    const int64_t first = std::exchange(out_, out_ + out);
    const std::optional<AdapterOptions> options = list.takeAdapter(name);
    if (!options) continue;
    // Both begin as in PEFT: the adapter adds nothing at first.
    const double bound = 1 / std::sqrt(static_cast<double>(in));
    joined.push_back({name + ".lora_A.weight", {options->rank, in}, true, Initial::uniform(bound)});
    others.push_back({name + ".lora_B.weight", {out, options->rank}, true, Initial::constant(0)});
    adapters_.push_back(
        {first, out, ranks_, options->rank, options->scale, {options->dropout, list.adapterSite()}});
    ranks_ += options->rank;
    dropsOut_ |= options->dropout > 0;
  }
  if (joined.empty()) return;
  columns_ = filledUp(ranks_);
  a_ = list.add(std::move(joined));
  for (size_t k = 0; k < others.size(); ++k) adapters_[k].b = list.add({std::move(others[k])});
  if (!list.isFrozen(matrix)) return;
  if (roomy.input || out_ >= kWideResult * in) room_.columns = columns_;
  if (roomy.outputGradient || in >= kWideResult * out_) room_.rows = columns_;
  if (room_.none()) return;
  list.makeRoom(matrix, room_);
  if (room_.rows > 0) list.place(matrix, {a_, out_, 0, 1});
  if (room_.columns == 0) return;
  for (const Adapter& adapter : adapters_)
    list.place(matrix, {adapter.b, adapter.column, in + adapter.row, adapter.scale});
}

bool Adapters::paysOff(const at::Tensor& rows, int64_t room, int64_t out, int64_t width) {
  return room > 0 && (out >= kWideResult * width || kernels::rowsAndRoom(rows, room).defined());
}

at::Tensor Adapters::emptyRows(const at::Tensor& like) const {
  // What fills the rows up meets weights of 0, and must be finite.
  return columns_ == ranks_ ? at::empty({like.size(0), columns_}, like.options())
                            : at::zeros({like.size(0), columns_}, like.options());
}

at::Tensor Adapters::reduced(const at::Tensor& x, const Pass& pass) const {
  at::Tensor all = emptyRows(x);
  const at::Tensor a = pass.weight(a_);
  if (together(pass)) {
    at::Tensor target = all.narrow(1, 0, ranks_);
    at::mm_out(target, x, a.t());
    return all;
  }
  for (const Adapter& adapter : adapters_) {
    at::Tensor target = ranksOf(adapter, all);
    at::mm_out(target, kernels::dropout(x, adapter.dropout.key(pass)),
               a.narrow(0, adapter.row, adapter.rank).t());
  }
  return all;
}

void Adapters::addOutput(const at::Tensor& y, const at::Tensor& reduced, const Pass& pass) const {
  for (const Adapter& adapter : adapters_)
    columnsOf(adapter, y).addmm_(ranksOf(adapter, reduced), pass.weight(adapter.b).t(), 1, adapter.scale);
}

at::Tensor Adapters::reducedGradient(const at::Tensor& dy, const Pass& pass) const {
  if (room_.columns > 0)
    return at::mm(dy, pass.parameters->withRoom(matrix_).narrow(0, 0, out_).narrow(1, in_, columns_));
  at::Tensor all = emptyRows(dy);
  for (const Adapter& adapter : adapters_)
    ranksOf(adapter, all).addmm_(columnsOf(adapter, dy), pass.weight(adapter.b), 0, adapter.scale);
  return all;
}

void Adapters::addInputGradient(const at::Tensor& dx, const at::Tensor& reducedGradient,
                                const Pass& pass) const {
  const at::Tensor a = pass.weight(a_);
  if (together(pass)) {
    dx.addmm_(reducedGradient.narrow(1, 0, ranks_), a);
    return;
  }
  for (const Adapter& adapter : adapters_)
    dx.add_(
        kernels::dropout(at::mm(ranksOf(adapter, reducedGradient), a.narrow(0, adapter.row, adapter.rank)),
                         adapter.dropout.key(pass)));
}

void Adapters::addWeightGradients(const at::Tensor& dy, const at::Tensor& x, const AdapterRows& rows,
                                  const Pass& pass) const {
  if (const at::Tensor& ofA = pass.gradient(a_); ofA.defined()) {
    const at::Tensor gradient = rows.gradient.defined() ? rows.gradient : reducedGradient(dy, pass);
    if (together(pass)) {
      addProduct(ofA, gradient.narrow(1, 0, ranks_), x);
    } else {
      for (const Adapter& adapter : adapters_)
        addProduct(ofA.narrow(0, adapter.row, adapter.rank), ranksOf(adapter, gradient),
                   kernels::dropout(x, adapter.dropout.key(pass)));
    }
  }
  at::Tensor inputs = rows.reduced;
  for (const Adapter& adapter : adapters_) {
    const at::Tensor& ofB = pass.gradient(adapter.b);
    if (!ofB.defined()) continue;
    if (!inputs.defined()) inputs = reduced(x, pass);
    addProduct(ofB, columnsOf(adapter, dy), ranksOf(adapter, inputs), adapter.scale);
  }
}

}  // namespace gradcache
