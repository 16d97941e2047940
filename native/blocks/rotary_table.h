// The angles by which rotary position embedding (Su et al. 2021) turns the heads of queries and keys, which
// layers share.
#pragma once

#include "core/settings.h"
#include "kernels/heads/heads.h"
#include "model/pass.h"

namespace gradcache {

class RotaryTable {
 public:
  // For heads of `size` features. Reads the settings `kind` and `theta`, how many `features` of a head are
  // turned, and what the kind needs:
  //   default, linear (factor), ntk (factor)
  //   llama3 (factor, low, high, original)
  //   yarn (factor, fast, slow, original, whole, attention)
  // as transformers names them; `whole` says whether the bounds of yarn's ramp are whole numbers, `attention`
  // scales cosines and sines.
  RotaryTable(const Settings& settings, int64_t size);

  // Cosines and sines of the positions of a pass.
  kernels::Rotation of(const Pass& pass) const;

 private:
  at::Tensor frequencies_;  // float32 [pairs], on the host
  double scale_ = 1;
  // For all positions up to the longest text so far, on the device.
  mutable at::Tensor cosines_, sines_;
};

}  // namespace gradcache
