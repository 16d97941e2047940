// Processes that hold the rows of their own alone, and pass blocks of them on to one another until each has
// seen all: in the memory of a few blocks, a tower's rows are compared with those of every process (as in
// Inf-CL, Cheng et al. 2024).
//
// A block is what one process holds of the towers that are the columns of a pairing; it may hold no row of
// one. In one turn every block goes once round the ring. In a turn for gradients that of the block goes with
// it, and in the end comes back to the process that holds the rows. Additions have a fixed order.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "losses/ring_tower.h"
#include "losses/share.h"
#include "losses/tower.h"

namespace gradcache {

class Ring {
 public:
  // `share` must be in a ring. Processes wait for one another. Throws SHAPE where representations are not as
  // many as it says, INPUT where they are sparse.
  Ring(const Share& share, const std::vector<at::Tensor>& representations, bool cosine);

  // The towers, each once.
  std::vector<std::unique_ptr<Tower>> takeTowers();

  // Visits the blocks of all processes, those of this one first: visit(p) while the rows of process p are
  // here. `adds` says for which of the towers there are gradients. All processes make the same turns.
  void turn(const std::vector<int64_t>& towers, const std::vector<bool>& adds,
            const std::function<void(int64_t process)>& visit);

 private:
  void joinLengths();
  int64_t rowsOf(const std::vector<int64_t>& towers, int64_t process) const;
  at::Tensor room(const std::vector<int64_t>& towers) const;
  void pass(const at::Tensor& block, const at::Tensor& scratch) const;
  void receive(int64_t process, const std::vector<int64_t>& towers, const std::vector<bool>& adds,
               const at::Tensor& rows, const at::Tensor& gradients);

  const Share& share_;
  std::vector<std::unique_ptr<Tower>> made_;
  std::vector<RingTower*> towers_;
};

}  // namespace gradcache
