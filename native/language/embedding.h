// The vectors of words, projected to the width of the model where theirs is another.
#pragma once

#include "language/clusters.h"
#include "language/row_dropout.h"
#include "model/builder.h"

namespace gradcache {

class Embedding {
 public:
  // Rows of `width` from matrices of these clusters; reads the settings wordDropout and inputDropout.
  Embedding(std::vector<Cluster> clusters, WordMatrices matrices, int64_t width, const Settings& settings,
            Builder& builder);

  // [T, width].
  at::Tensor forward(const ClusteredIds& ids, const Pass& pass) const;
  // Adds to the gradients of the matrices.
  void backward(const at::Tensor& dy, const ClusteredIds& ids, const Pass& pass) const;

 private:
  at::Tensor vectors(size_t cluster, const at::Tensor& words, const Pass& pass) const;
  // Word dropout takes whole words from a segment (AWD-LSTM's embedding dropout). Its own backward.
  at::Tensor dropWords(const at::Tensor& vectors, size_t cluster, const at::Tensor& words,
                       const Pass& pass) const;

  std::vector<Cluster> clusters_;
  WordMatrices matrices_;
  int64_t width_;
  Dropout wordDropout_;
  RowDropout inputDropout_;
};

}  // namespace gradcache
