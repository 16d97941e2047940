#include "losses/ring.h"

#include <algorithm>

#include "core/error.h"

namespace gradcache {

namespace {

// Bytes that are passed on at once: they need as much memory besides the block.
int64_t mostPassed(const at::Tensor& block) { return (block.is_cpu() ? int64_t{16} : int64_t{64}) << 20; }

}  // namespace

Ring::Ring(const Share& share, const std::vector<at::Tensor>& representations, bool cosine) : share_(share) {
  const auto towers = static_cast<int64_t>(representations.size());
  require(share.towers() == towers, "SHAPE", "it is known of ", share.towers(),
          " towers how many rows ranks have, and there are ", towers);
  for (int64_t k = 0; k < towers; ++k) {
    const at::Tensor& own = representations[k];
    require(own.layout() == at::kStrided, "INPUT", "representations of tower ", k,
            " are sparse: give the exchange 'gather'");
    const Share::Part held = share.heldBy(share.index(), k);
    require(held.count == own.size(0), "SHAPE", "tower ", k, " has ", own.size(0),
            " rows and is said to have ", held.count);
    const Share::Part last = share.heldBy(share.count() - 1, k);
    require(last.begin + last.count > 0, "SHAPE", "tower ", k, " has no row");
    auto tower = std::make_unique<RingTower>(own, cosine, held, last.begin + last.count);
    towers_.push_back(tower.get());
    made_.push_back(std::move(tower));
  }
  if (!cosine) joinLengths();
}

std::vector<std::unique_ptr<Tower>> Ring::takeTowers() { return std::move(made_); }

void Ring::joinLengths() {
  const auto towers = static_cast<int64_t>(towers_.size());
  at::Tensor all = at::empty({towers, 2}, at::kDouble);
  auto* numbers = all.mutable_data_ptr<double>();
  for (int64_t k = 0; k < towers; ++k) {
    const auto [least, greatest] = towers_[k]->ownLengths();
    numbers[2 * k] = -least;
    numbers[2 * k + 1] = greatest;
  }
  share_.most(all);
  for (int64_t k = 0; k < towers; ++k) towers_[k]->setLengths({-numbers[2 * k], numbers[2 * k + 1]});
}

void Ring::turn(const std::vector<int64_t>& towers, const std::vector<bool>& adds,
                const std::function<void(int64_t)>& visit) {
  const int64_t count = share_.count(), self = share_.index();
  std::vector<int64_t> added;
  for (size_t k = 0; k < towers.size(); ++k)
    if (adds[k]) added.push_back(towers[k]);
  // All memory is taken before anything is passed on.
  at::Tensor rows, gradients, scratch;
  if (count > 1) {
    rows = room(towers);
    if (!added.empty()) gradients = room(added).zero_();
    scratch = at::empty({std::min(rows.numel(), mostPassed(rows) / rows.element_size())}, rows.options());
    int64_t begin = 0;
    for (const int64_t number : towers) {
      const at::Tensor& own = towers_[number]->own();
      rows.narrow(0, begin, own.size(0)).copy_(own);
      begin += own.size(0);
    }
  }
  visit(self);
  for (int64_t step = 1; step <= count; ++step) {
    const int64_t process = (self + step) % count;
    if (step < count) pass(rows, scratch);
    if (step > 1 && gradients.defined()) pass(gradients, scratch);
    if (step == count) break;
    receive(process, towers, adds, rows, gradients);
    visit(process);
  }
  for (const int64_t number : towers) towers_[number]->leave();
  int64_t begin = 0;
  for (const int64_t number : added) {
    const int64_t own = towers_[number]->own().size(0);
    if (count > 1) towers_[number]->addOwn(gradients.narrow(0, begin, own));
    begin += own;
  }
}

int64_t Ring::rowsOf(const std::vector<int64_t>& towers, int64_t process) const {
  int64_t rows = 0;
  for (const int64_t tower : towers) rows += share_.heldBy(process, tower).count;
  return rows;
}

// For the block of any process: all pass on as much.
at::Tensor Ring::room(const std::vector<int64_t>& towers) const {
  int64_t most = 0;
  for (int64_t process = 0; process < share_.count(); ++process)
    most = std::max(most, rowsOf(towers, process));
  const at::Tensor& like = towers_[0]->own();
  return at::empty({most, like.size(1)}, like.options());
}

void Ring::pass(const at::Tensor& block, const at::Tensor& scratch) const {
  const at::Tensor flat = block.view({-1});
  for (int64_t begin = 0; begin < flat.numel(); begin += scratch.numel()) {
    at::Tensor part = flat.narrow(0, begin, std::min(scratch.numel(), flat.numel() - begin));
    const at::Tensor received = scratch.narrow(0, 0, part.numel());
    share_.pass(part, received);
    part.copy_(received);
  }
}

void Ring::receive(int64_t process, const std::vector<int64_t>& towers, const std::vector<bool>& adds,
                   const at::Tensor& rows, const at::Tensor& gradients) {
  int64_t begin = 0, beginAdded = 0;
  for (size_t k = 0; k < towers.size(); ++k) {
    const Share::Part held = share_.heldBy(process, towers[k]);
    at::Tensor gradient;
    if (adds[k] && gradients.defined()) {
      gradient = gradients.narrow(0, beginAdded, held.count);
      beginAdded += held.count;
    }
    towers_[towers[k]]->receive(held, rows.narrow(0, begin, held.count), gradient);
    begin += held.count;
  }
}

}  // namespace gradcache
