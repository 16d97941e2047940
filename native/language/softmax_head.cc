#include "language/softmax_head.h"

#include <utility>

#include "model/products.h"

namespace gradcache {

SoftmaxHead::SoftmaxHead(std::vector<Cluster> clusters, WordMatrices matrices,
                         std::vector<ParameterId> biases, double noise)
    : clusters_(std::move(clusters)),
      matrices_(std::move(matrices)),
      biases_(std::move(biases)),
      noise_(noise) {}

SoftmaxWeights SoftmaxHead::weights(size_t k, const Pass& pass) const {
  return {pass.weight(matrices_.vectors[k]), biases_.empty() ? at::Tensor() : pass.weight(biases_[k]),
          pass.dropout ? noise_ : 0};
}

at::Tensor SoftmaxHead::projected(size_t k, const at::Tensor& rows, const Pass& pass) const {
  const auto& projection = matrices_.projections[k];
  return projection ? at::mm(rows, pass.weight(*projection)) : rows;
}

at::Tensor SoftmaxHead::losses(const at::Tensor& x, const ClusteredIds& targets, const Pass& pass,
                               std::vector<at::Tensor>& normalizers) const {
  at::Tensor all = at::zeros({x.size(0)}, x.options().dtype(pass.wideType()));
  normalizers.resize(clusters_.size());
  for (size_t k = 0; k < clusters_.size(); ++k) {
    const ClusteredIds::Part& words = part(targets, k);
    if (words.empty()) continue;
    SoftmaxLosses softmax =
        softmaxLosses(projected(k, rowsOf(x, words), pass), words.words, weights(k, pass));
    normalizers[k] = std::move(softmax.normalizer);
    if (words.rows.defined()) {
      all.index_add_(0, words.rows, softmax.losses);
    } else {
      all.add_(softmax.losses);
    }
  }
  return all;
}

at::Tensor SoftmaxHead::backward(double seed, const at::Tensor& x, const ClusteredIds& targets,
                                 const Pass& pass, const std::vector<at::Tensor>& normalizers) const {
  at::Tensor dx;
  for (size_t k = 0; k < clusters_.size(); ++k) {
    const ClusteredIds::Part& words = part(targets, k);
    if (words.empty()) continue;
    const at::Tensor rows = rowsOf(x, words);
    at::Tensor gradient = softmaxBackward(seed, projected(k, rows, pass), words.words, normalizers[k],
                                          weights(k, pass), pass.gradient(matrices_.vectors[k]),
                                          biases_.empty() ? at::Tensor() : pass.gradient(biases_[k]));
    if (const auto& projection = matrices_.projections[k]) {
      addProduct(pass.gradient(*projection), rows, gradient);
      gradient = at::mm(gradient, pass.weight(*projection).t());
    }
    if (!words.rows.defined()) {
      dx = dx.defined() ? dx.add_(gradient) : gradient;
    } else {
      if (!dx.defined()) dx = at::zeros_like(x);
      dx.index_add_(0, words.rows, gradient);
    }
  }
  return dx.defined() ? dx : at::zeros_like(x);
}

at::Tensor SoftmaxHead::logProbabilities(const at::Tensor& x, const Pass& pass) const {
  at::Tensor first = at::log_softmax(softmaxLogits(projected(0, x, pass), weights(0, pass)), 1);
  if (clusters_.size() == 1) return first;
  std::vector<at::Tensor> all{first.narrow(1, 0, clusters_[0].size)};
  for (size_t k = 1; k < clusters_.size(); ++k) {
    const int64_t place = clusters_[0].size + static_cast<int64_t>(k) - 1;
    all.push_back(at::log_softmax(softmaxLogits(projected(k, x, pass), weights(k, pass)), 1) +
                  first.narrow(1, place, 1));
  }
  return at::cat(all, 1);
}

}  // namespace gradcache
