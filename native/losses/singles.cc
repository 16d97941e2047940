#include "losses/singles.h"

#include <algorithm>

namespace gradcache {

namespace {

// Rows whose pairs are taken at once. A GPU has more to do than to start operators.
int64_t sliceOf(const at::TensorOptions& numbers) { return numbers.device().is_cpu() ? 512 : 16'384; }

}  // namespace

Singles::Singles(Strip& strip)
    : strip_(strip), pairing_(strip.pairing_), similarity_(strip.pairing_.similarity_) {}

void Singles::add(const Chosen& pairs) {
  if (!pairs.any()) return;
  const std::vector<List> before = lists_;
  for (int64_t k = 0; k < pairs.columns().size(1); ++k) {
    const at::Tensor columns = pairs.columns().select(1, k);
    List list{at::full({strip_.rows()}, -1, columns.options()), pairs.diagonal()};
    list.columns.narrow(0, strip_.visitedBegin_ - strip_.begin(), strip_.visited_)
        .copy_(columns.narrow(0, strip_.visitedBegin_, strip_.visited_));
    if (!before.empty()) list.diagonal.reset();
    for (const List& other : before)
      list.columns = list.columns.masked_fill(list.columns.eq(other.columns), -1);
    lists_.push_back(list);
  }
}

at::Tensor Singles::columns() const {
  std::vector<at::Tensor> all;
  for (const List& list : lists_) all.push_back(list.columns);
  return at::stack(all, 1);
}

std::optional<int64_t> Singles::diagonal() const {
  for (const List& list : lists_)
    if (list.diagonal) return list.diagonal;
  return std::nullopt;
}

at::Tensor Singles::diagonalList() const {
  for (const List& list : lists_)
    if (list.diagonal) return list.columns;
  return {};
}

std::vector<at::Tensor> Singles::lists() const {
  std::vector<at::Tensor> all;
  for (const List& list : lists_)
    if (!list.diagonal) all.push_back(list.columns);
  return all;
}

at::Tensor Singles::compared(Tower& tower, const Some& some) {
  const DenseRows rows = tower.dense(some.begin, some.count);
  return some.places.defined() ? rows.tower.comparedAt(some.places.sub(some.begin - rows.begin))
                               : rows.tower.compared(rows.begin, some.count);
}

at::Tensor Singles::comparedWide(Tower& tower, const Some& some) {
  const DenseRows rows = tower.dense(some.begin, some.count);
  return some.places.defined() ? rows.tower.comparedWideAt(some.places.sub(some.begin - rows.begin))
                               : rows.tower.comparedWide(rows.begin, some.count);
}

at::Tensor Singles::inStrip(const at::Tensor& numbers, const Some& rows) const {
  return rows.places.defined() ? numbers.index_select(0, rows.places.sub(strip_.begin()))
                               : numbers.narrow(0, rows.begin - strip_.begin(), rows.count);
}

bool Singles::areAtHome() const {
  const Share& share = *similarity_.share();
  for (const List& list : lists_) {
    if (!list.diagonal) return false;
    for (int64_t process = 0; process < share.count(); ++process) {
      const Share::Part rows = share.heldBy(process, pairing_.rowTower_);
      const int64_t begin = rows.begin + *list.diagonal, end = begin + rows.count;
      for (size_t k = 0; k < pairing_.columnTowers_.size(); ++k) {
        const int64_t first = pairing_.firsts_[k], last = first + similarity_.rows(pairing_.columnTowers_[k]);
        const Share::Part held = share.heldBy(process, pairing_.columnTowers_[k]);
        const int64_t from = std::max(begin, first), to = std::min(end, last);
        if (from < to && (from < first + held.begin || to > first + held.begin + held.count)) return false;
      }
    }
  }
  return true;
}

void Singles::each(bool adds, const Visit& visit) const {
  const auto inBlock = [&](int64_t block) {
    for (size_t number = 0; number < lists_.size(); ++number) eachIn(block, number, visit);
  };
  if (similarity_.ring_ && areAtHome()) return inBlock(similarity_.share()->index());
  strip_.eachBlock(adds, inBlock);
}

void Singles::eachIn(int64_t block, size_t number, const Visit& visit) const {
  const int64_t slice = sliceOf(similarity_.numbers());
  const List& list = lists_[number];
  for (int64_t row = strip_.visitedBegin_; row < strip_.visitedEnd(); row += slice) {
    const int64_t count = std::min(slice, strip_.visitedEnd() - row);
    for (size_t k = 0; k < pairing_.columnTowers_.size(); ++k) {
      const Share::Part here = strip_.columnsOf(block, k);
      const int64_t first = pairing_.firsts_[k];
      const int64_t begin = first + here.begin, end = begin + here.count;  // in the pairing
      if (list.diagonal) {
        const int64_t from = std::max(row, begin - *list.diagonal);
        const int64_t within = std::min(row + count, end - *list.diagonal) - from;
        if (within > 0) visit(number, k, {from, within, {}}, {from + *list.diagonal - first, within, {}});
        continue;
      }
      const at::Tensor columns = list.columns.narrow(0, row - strip_.begin(), count);
      const at::Tensor inside = columns.ge(begin).logical_and_(columns.lt(end)).nonzero().squeeze(1);
      if (inside.numel() > 0)
        visit(number, k, {row, count, inside.add(row)},
              {here.begin, here.count, columns.index_select(0, inside).sub_(first)});
    }
  }
}

at::Tensor Singles::scores() const {
  const double scale = similarity_.measure().scale;
  at::Tensor scores = at::zeros({strip_.rows(), count()}, similarity_.statistics());
  each(false, [&](size_t list, size_t k, const Some& rows, const Some& columns) {
    Tower &left = *similarity_.towers_[pairing_.rowTower_],
          &right = *similarity_.towers_[pairing_.columnTowers_[k]];
    const at::Tensor both = similarity_.products() == Products::kSplit
                                ? comparedWide(left, rows).mul_(comparedWide(right, columns))
                                : compared(left, rows).mul(compared(right, columns));
    const at::Tensor products = both.sum({1}, false, at::kDouble).mul_(scale);
    at::Tensor target = scores.select(1, static_cast<int64_t>(list));
    if (rows.places.defined()) {
      target.index_copy_(0, rows.places.sub(strip_.begin()), products);
    } else {
      target.narrow(0, rows.begin - strip_.begin(), rows.count).copy_(products);
    }
  });
  return scores;
}

void Singles::addGradient(const at::Tensor& slopes, const at::Tensor& scores) {
  const int64_t rowTower = pairing_.rowTower_;
  each(true, [&](size_t list, size_t k, const Some& rows, const Some& columns) {
    const int64_t columnTower = pairing_.columnTowers_[k];
    const at::Tensor factors = inStrip(slopes.select(1, static_cast<int64_t>(list)), rows)
                                   .mul(similarity_.measure().scale)
                                   .to(similarity_.numbers().dtype())
                                   .unsqueeze(1);
    const at::Tensor left = compared(*similarity_.towers_[rowTower], rows),
                     right = compared(*similarity_.towers_[columnTower], columns);
    const auto add = [&](int64_t number, const Some& of, const at::Tensor& other, bool distinct) {
      if (!similarity_.trains(number)) return;
      const DenseRows to = similarity_.towers_[number]->dense(of.begin, of.count);
      if (of.places.defined()) {
        to.tower.addAt(of.places.sub(of.begin - to.begin), other.mul(factors), distinct);
      } else {
        to.tower.gradient(to.begin, of.count).addcmul_(other, factors);
      }
    };
    add(rowTower, rows, right, true);
    add(columnTower, columns, left, false);
  });
  if (similarity_.measure().learned) similarity_.scaleSlope_.add_(slopes.mul(scores).sum());
}

}  // namespace gradcache
