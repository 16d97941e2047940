// What the sweeps of a softmax take and give (softmax.h).
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <functional>

#include "losses/chosen.h"
#include "losses/similarity.h"

namespace gradcache {

// What softmaxes see in place of the scores. Each change adds to some of them what has no gradient.
struct Logits {
  using Change = std::function<void(const Tile& tile, at::Tensor& scores)>;
  // Some logits of the softmax over rows are more, by a constant that is the factor times their score without
  // the bias: those of the pairs or, where `ofOthers`, of all others.
  struct Hardness {
    double factor = 0;
    bool ofOthers = false;
    Chosen pairs;
  };
  Change all;         // of every score, first
  double shift = 0;   // added to the scores of positives
  Hardness hardness;  // of what the softmax over rows sees, after that
  Chosen leftOut;     // pairs that the softmax over rows leaves out
  // The most that all of this adds to a score, or takes from it, other than kLeftOut.
  double most = INFINITY;

  bool areScores() const { return !all && shift == 0 && hardness.factor == 0; }
};

struct SoftmaxStatistics {
  at::Tensor rows, columns;        // log sum exp of the strip's rows, of all columns
  at::Tensor rowSums, columnSums;  // sums of logits, without those that are left out
  at::Tensor positives;            // logits of the positives, [rows of the strip, k]
};

// Which statistics are wanted.
struct Wanted {
  bool rows = true;
  bool columns = false;  // takes a strip of all rows
  bool sums = false;     // of the rows or columns that are wanted
};

struct SoftmaxGradient {
  at::Tensor rows, columns;  // normalizers of the strip's rows, of all columns; undefined: no softmax
  at::Tensor rowConstants, columnConstants;  // subtracted from the gradient of each pair; undefined: 0
  at::Tensor positives;                      // subtracted from that of positives, [rows of the strip, k]
  // Sees the gradients of positives, [rows, k], once for each pair; 0 where it is not in what is computed.
  std::function<void(const at::Tensor& gradients)> watch;
};

}  // namespace gradcache
