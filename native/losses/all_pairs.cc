#include "losses/all_pairs.h"

#include <algorithm>

namespace gradcache {

AllPairs::AllPairs(Strip& strip) : strip_(strip), similarity_(strip.pairing_.similarity_) {
  const Pairing& pairing = strip.pairing_;
  rows_.push_back(
      {pairing.rowTower_, strip.visitedBegin_, strip.visited_, strip.visitedBegin_ - strip.begin()});
  for (size_t k = 0; k < pairing.columnTowers_.size(); ++k) {
    const int64_t own = similarity_.ring_ ? similarity_.share()->index() : 0;
    const auto [begin, count] = strip.columnsOf(own, k);
    columns_.push_back({pairing.columnTowers_[k], begin, count, pairing.firsts_[k] + begin});
  }
}

void AllPairs::slices(const Side& side, const std::function<void(const Part&)>& visit) const {
  const int64_t most = similarity_.numbers().device().is_cpu() ? 512 : 16'384;
  for (const Part& part : side) {
    for (int64_t begin = 0; begin < part.count; begin += most)
      visit({part.tower, part.begin + begin, std::min(most, part.count - begin), part.place + begin});
  }
}

at::Tensor AllPairs::total(const Side& side, const at::Tensor& factors) const {
  at::Tensor sum = at::zeros({similarity_.width()}, similarity_.statistics());
  slices(side, [&](const Part& part) {
    const at::Tensor rows = similarity_.towers_[part.tower]->compared(part.begin, part.count).to(at::kDouble);
    sum.add_(factors.defined() ? at::mv(rows.t(), factors.narrow(0, part.place, part.count)) : rows.sum({0}));
  });
  return sum;
}

at::Tensor AllPairs::products(const Side& side, int64_t count, const at::Tensor& with, double more) const {
  at::Tensor products = at::zeros({count}, with.options());
  slices(side, [&](const Part& part) {
    const at::Tensor rows = similarity_.towers_[part.tower]->compared(part.begin, part.count).to(at::kDouble);
    products.narrow(0, part.place, part.count)
        .copy_(at::mv(rows, with).mul_(similarity_.measure().scale).add_(more));
  });
  return products;
}

at::Tensor AllPairs::joined(const at::Tensor& total) const {
  if (!similarity_.ring_) return total;
  at::Tensor all = total.clone();
  similarity_.share()->sum(all);
  return all;
}

at::Tensor AllPairs::rowSums(double bias) const {
  return products(rows_, strip_.rows(), joined(total(columns_, {})),
                  bias * static_cast<double>(strip_.columns()));
}

// Of columns that are here, with all rows that others visit too.
at::Tensor AllPairs::columnSums(double bias) const {
  const int64_t rows = similarity_.ring_ ? strip_.rows() : strip_.visited_;
  return products(columns_, strip_.columns(), joined(total(rows_, {})), bias * static_cast<double>(rows));
}

void AllPairs::add(const Side& side, const at::Tensor& factors, const at::Tensor& each,
                   const at::Tensor& same) {
  slices(side, [&](const Part& part) {
    if (!similarity_.trains(part.tower)) return;
    at::Tensor sum = at::zeros({part.count, similarity_.width()}, similarity_.statistics());
    if (each.defined()) sum.add_(factors.narrow(0, part.place, part.count).unsqueeze(1).mul(each));
    if (same.defined()) sum.add_(same);
    similarity_.towers_[part.tower]->add(part.begin, sum.to(similarity_.numbers().dtype()),
                                         similarity_.measure().scale);
  });
}

void AllPairs::addGradient(const at::Tensor& ofRows, const at::Tensor& ofColumns) {
  at::Tensor columnTotal, rowTotal, weighedColumns, weighedRows;
  if (ofRows.defined()) {
    columnTotal = joined(total(columns_, {}));
    weighedRows = total(rows_, ofRows);
  }
  if (ofColumns.defined()) {
    rowTotal = joined(total(rows_, {}));
    weighedColumns = total(columns_, ofColumns);
  }
  if (similarity_.measure().learned) {
    const double scale = similarity_.measure().scale;
    at::Tensor& slope = similarity_.scaleSlope_;
    if (ofRows.defined()) slope.add_(at::dot(weighedRows, columnTotal).mul_(scale));
    if (ofColumns.defined()) slope.add_(at::dot(weighedColumns, rowTotal).mul_(scale));
  }
  if (ofRows.defined()) weighedRows = joined(weighedRows);
  if (ofColumns.defined()) weighedColumns = joined(weighedColumns);
  add(rows_, ofRows, columnTotal, weighedColumns);
  add(columns_, ofColumns, rowTotal, weighedRows);
}

}  // namespace gradcache
