#include "losses/ring_tower.h"

#include "core/error.h"

namespace gradcache {

RingTower::RingTower(const at::Tensor& representations, bool cosine, const Share::Part& held, int64_t rows)
    : representations_(representations),
      cosine_(cosine),
      rows_(rows),
      held_(held),
      own_(representations, cosine) {}

void RingTower::receive(const Share::Part& held, const at::Tensor& representations,
                        const at::Tensor& gradient) {
  guestHeld_ = held;
  guest_.emplace(representations, cosine_, gradient);
}

DenseRows RingTower::dense(int64_t begin, int64_t count) {
  const auto has = [&](const Share::Part& held) {
    return begin >= held.begin && begin + count <= held.begin + held.count;
  };
  if (has(held_)) return {own_, begin - held_.begin};
  require(guest_ && has(guestHeld_), "INPUT", "rows ", begin, " to ", begin + count,
          " are not on this rank: the loss takes the exchange 'gather'");
  return {*guest_, begin - guestHeld_.begin};
}

at::Tensor RingTower::compared(int64_t begin, int64_t count) const {
  const DenseRows rows = const_cast<RingTower*>(this)->dense(begin, count);
  return rows.tower.compared(rows.begin, count);
}

void RingTower::addProduct(int64_t begin, const at::Tensor& a, const at::Tensor& b) {
  const DenseRows rows = dense(begin, a.size(0));
  rows.tower.addProduct(rows.begin, a, b);
}

void RingTower::add(int64_t begin, const at::Tensor& part, double factor) {
  const DenseRows rows = dense(begin, part.size(0));
  rows.tower.add(rows.begin, part, factor);
}

}  // namespace gradcache
