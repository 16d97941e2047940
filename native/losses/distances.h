// Distances of the rows of one tower from all of its rows, and the way of their gradient back. The cosine
// distance is 1 minus the cosine. The Euclidean one follows from dot products and squared lengths.
#pragma once

#include <ATen/ATen.h>

#include "losses/dense_tower.h"
#include "losses/similarity.h"

namespace gradcache {

class Distances {
 public:
  // Of tower 0, which is dense. Its scores are dot products for the Euclidean distance, else cosines.
  Distances(Similarity& similarity, bool euclidean);

  // 0; or what is no number, where a representation is none.
  at::Tensor nothing() const;

  // [rows of the strip, all rows] of the tower paired with itself, in the type of the scores. A row is at the
  // distance 0 from itself, and in the Euclidean distance from rows that only rounding tells apart.
  at::Tensor of(Strip& strip) const;
  // Adds what follows from dL/d(distance), which is overwritten, to the tower's gradient. Rows at the
  // Euclidean distance 0 have none. Ends the strip.
  void addGradient(Strip& strip, const at::Tensor& distances, const at::Tensor& slopes);

  // One pair of each row of a strip. Its distance is computed by itself in float64, where nothing cancels.
  class Pairs {
   public:
    const at::Tensor& values() const { return values_; }  // float64 [rows of the strip]

   private:
    friend class Distances;
    at::Tensor places_, rows_, others_, values_;
  };
  // `places`, int64 [rows of the strip]: the other row of each pair.
  Pairs ofPairs(const Strip& strip, const at::Tensor& places) const;
  // Adds what follows from dL/d(distance), float64 [rows of the strip].
  void addGradient(const Strip& strip, const Pairs& pairs, const at::Tensor& slopes);

  // After all strips: adds what follows from the lengths of rows.
  void finish();

 private:
  DenseTower& tower() const;

  Similarity& similarity_;
  const bool euclidean_;
  at::Tensor squares_;  // [rows]: squared lengths
  at::Tensor pulls_;    // [rows]: over the pairs of each row, the sum of dL/d(distance) / distance
};

}  // namespace gradcache
