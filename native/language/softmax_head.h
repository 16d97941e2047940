// The softmax over the vocabulary: one, or one over the frequent words and the clusters, and one over the
// words of each cluster (Grave et al. 2017).
#pragma once

#include <vector>

#include "language/clusters.h"
#include "language/tiled_softmax.h"
#include "model/pass.h"

namespace gradcache {

class SoftmaxHead {
 public:
  // `biases` [size] by cluster, the first with a further element for each other cluster; empty: none.
  SoftmaxHead(std::vector<Cluster> clusters, WordMatrices matrices, std::vector<ParameterId> biases,
              double noise);

  // [T]: the negative log-likelihood of each token's target, 0 where it has none. `normalizers`, by cluster,
  // is what the backward needs.
  at::Tensor losses(const at::Tensor& x, const ClusteredIds& targets, const Pass& pass,
                    std::vector<at::Tensor>& normalizers) const;
  // dL/dx for L = seed * the sum of the losses.
  at::Tensor backward(double seed, const at::Tensor& x, const ClusteredIds& targets, const Pass& pass,
                      const std::vector<at::Tensor>& normalizers) const;
  // [n, vocabulary] of rows [n, width].
  at::Tensor logProbabilities(const at::Tensor& x, const Pass& pass) const;

 private:
  const ClusteredIds::Part& part(const ClusteredIds& targets, size_t k) const {
    return k == 0 ? targets.first : targets.clusters[k];
  }
  SoftmaxWeights weights(size_t k, const Pass& pass) const;
  at::Tensor projected(size_t k, const at::Tensor& rows, const Pass& pass) const;

  std::vector<Cluster> clusters_;
  WordMatrices matrices_;
  std::vector<ParameterId> biases_;
  double noise_;
};

}  // namespace gradcache
