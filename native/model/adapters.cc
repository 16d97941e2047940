#include "model/adapters.h"

#include <utility>

#include "kernels/dropout/dropout.h"
#include "model/products.h"

namespace gradcache {

Adapters::Adapters(ParameterList& list, const std::vector<LinearPart>& parts, int64_t in) {
  std::vector<ParameterSpec> joined, others;
  int64_t column = 0;
  for (const auto& [name, out] : parts) {
    const int64_t first = std::exchange(column, column + out);
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
  a_ = list.add(std::move(joined));
  for (size_t k = 0; k < others.size(); ++k) adapters_[k].b = list.add({std::move(others[k])});
}

at::Tensor Adapters::reduced(const Adapter& adapter, const at::Tensor& x, const Pass& pass) const {
  const at::Tensor a = pass.weight(a_).narrow(0, adapter.row, adapter.rank);
  return at::mm(kernels::dropout(x, adapter.dropout.key(pass)), a.t());
}

at::Tensor Adapters::reducedGradient(const at::Tensor& dy, const Pass& pass) const {
  at::Tensor all = at::empty({dy.size(0), ranks_}, dy.options());
  for (const Adapter& adapter : adapters_)
    all.narrow(1, adapter.row, adapter.rank)
        .addmm_(columnsOf(adapter, dy), pass.weight(adapter.b), 0, adapter.scale);
  return all;
}

void Adapters::addOutput(const at::Tensor& y, const at::Tensor& x, const Pass& pass) const {
  if (adapters_.empty()) return;
  const bool together = !(pass.dropout && dropsOut_);
  const at::Tensor all = together ? at::mm(x, pass.weight(a_).t()) : at::Tensor();
  for (const Adapter& adapter : adapters_) {
    const at::Tensor own = together ? all.narrow(1, adapter.row, adapter.rank) : reduced(adapter, x, pass);
    columnsOf(adapter, y).addmm_(own, pass.weight(adapter.b).t(), 1, adapter.scale);
  }
}

void Adapters::addInputGradient(const at::Tensor& dx, const at::Tensor& dy, const Pass& pass) const {
  if (adapters_.empty()) return;
  const at::Tensor all = reducedGradient(dy, pass), a = pass.weight(a_);
  if (!(pass.dropout && dropsOut_)) {
    dx.addmm_(all, a);
    return;
  }
  for (const Adapter& adapter : adapters_)
    dx.add_(kernels::dropout(
        at::mm(all.narrow(1, adapter.row, adapter.rank), a.narrow(0, adapter.row, adapter.rank)),
        adapter.dropout.key(pass)));
}

void Adapters::addWeightGradients(const at::Tensor& dy, const at::Tensor& x, const Pass& pass) const {
  if (adapters_.empty()) return;
  const bool together = !(pass.dropout && dropsOut_);
  const at::Tensor& ofA = pass.gradient(a_);
  const at::Tensor all = ofA.defined() ? reducedGradient(dy, pass) : at::Tensor();
  if (together && ofA.defined()) addProduct(ofA, all, x);
  const at::Tensor inputs = together ? at::mm(x, pass.weight(a_).t()) : at::Tensor();
  for (const Adapter& adapter : adapters_) {
    const at::Tensor dropped = together ? x : kernels::dropout(x, adapter.dropout.key(pass));
    if (!together && ofA.defined())
      addProduct(ofA.narrow(0, adapter.row, adapter.rank), all.narrow(1, adapter.row, adapter.rank), dropped);
    if (const at::Tensor& ofB = pass.gradient(adapter.b); ofB.defined())
      addProduct(ofB, columnsOf(adapter, dy),
                 together ? inputs.narrow(1, adapter.row, adapter.rank)
                          : at::mm(dropped, pass.weight(a_).narrow(0, adapter.row, adapter.rank).t()),
                 adapter.scale);
  }
}

}  // namespace gradcache
