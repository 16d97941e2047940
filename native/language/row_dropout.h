// Dropout of the rows of a segment: for each token anew, or the same columns for all tokens of a sequence
// (Gal & Ghahramani 2016), as AWD-LSTM drops out.
#pragma once

#include "kernels/dropout/dropout.h"
#include "model/builder.h"
#include "model/sequence_rows.h"

namespace gradcache {

class RowDropout {
 public:
  RowDropout(double probability, bool shared, Builder& builder)
      : dropout_(builder.dropout(probability)), shared_(shared) {}

  // `rows` is [T, width]. It is its own backward.
  at::Tensor apply(const at::Tensor& rows, const Pass& pass) const {
    const DropoutKey key = dropout_.key(pass);
    return shared_ ? dropoutOfSequences(rows, key, pass) : kernels::dropout(rows, key);
  }

 private:
  Dropout dropout_;
  bool shared_;
};

}  // namespace gradcache
