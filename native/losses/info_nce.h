// InfoNCE (van den Oord et al. 2018; equation 1 of Gao et al. 2021) over a whole batch, in row tiles: the N x
// M scores never exist at once, and the gradients come out together with the loss, without an autograd graph.
#pragma once

#include <ATen/ATen.h>

#include <vector>

namespace gradcache {

struct InfoNceOptions {
  double scale = 1;              // 1 / temperature
  bool cosine = true;            // else the dot product
  bool symmetric = false;        // the mean of anchor -> candidate and candidate -> anchor
  std::vector<int64_t> targets;  // candidate of each anchor; empty: anchor i belongs to candidate i
  bool learned = false;          // whether the gradient of the scale is wanted
  double weight = 1;             // of the gradients
};

struct InfoNce {
  double loss = 0;
  std::vector<at::Tensor>
      gradients;                // like the representations: anchors first, then each block of candidates
  double logScaleGradient = 0;  // dL / d(log scale), where it is learned
};

// `representations` are anchors [N, d] and one or more blocks of candidates [M_k, d], float32 or float64.
// Candidates are numbered through all blocks: positives first, then hard negatives. Throws SHAPE, DTYPE or
// DEVICE.
InfoNce infoNce(const std::vector<at::Tensor>& representations, const InfoNceOptions& options);

}  // namespace gradcache
