// What AWD-LSTM adds to the loss (Merity et al. 2018): the size of the last layer's outputs, and how fast
// they change from token to token within a segment.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "core/settings.h"

namespace gradcache {

class Penalties {
 public:
  // Reads the settings activationPenalty and slownessPenalty.
  explicit Penalties(const Settings& settings);

  bool any() const { return activation_ != 0 || slowness_ != 0; }
  // `outputs` and `dropped` are [T, width], before and after the dropout, in `sequences` of one length. The
  // penalty of a token is activation * mean(dropped^2) + slowness * mean((next output - output)^2); this is T
  // times that.
  double value(const at::Tensor& outputs, const at::Tensor& dropped, int64_t sequences) const;
  // Adds seed * dP/d(outputs) and seed * dP/d(dropped), where P is the value. In place.
  void addGradients(double seed, const at::Tensor& outputs, at::Tensor& outputGradient,
                    const at::Tensor& dropped, at::Tensor& droppedGradient, int64_t sequences) const;

 private:
  double activation_, slowness_;
};

}  // namespace gradcache
