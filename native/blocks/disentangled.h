// What a layer's attention makes of the vectors of distances: keys and queries, by products of its own or by
// those that content goes through.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "blocks/relative_vectors.h"
#include "kernels/disentangled/disentangled.h"
#include "model/linear.h"

namespace gradcache {

class Disentangled {
 public:
  struct Options {
    std::shared_ptr<const RelativeVectors> vectors;
    bool keys, queries;  // which of the two scores there are
    // Names of the products of their own, without ".weight" and ".bias"; empty: those of content.
    std::string keyProduct, queryProduct;
    double dropout = 0;  // on the vectors
  };
  Disentangled(const Options& options, const kernels::AttentionForm& form, Builder& builder);

  // [T, heads * size]. `content` is the layer's product for queries, keys and values, which gave qkv.
  at::Tensor forward(const at::Tensor& qkv, const Linear& content, const Pass& pass,
                     const DropoutKey& key) const;
  // dL/dqkv; adds to the gradients of the vectors and of what they go through.
  at::Tensor backward(const at::Tensor& dout, const at::Tensor& qkv, const Linear& content, const Pass& pass,
                      const DropoutKey& key) const;

 private:
  bool own() const { return !options_.keyProduct.empty() || !options_.queryProduct.empty(); }
  at::Tensor dropped(const Pass& pass) const;
  kernels::DistanceVectors projected(const at::Tensor& rows, const Linear& content, const Pass& pass) const;

  Options options_;
  kernels::AttentionForm form_;
  std::optional<Linear> keyProduct_, queryProduct_;
  Dropout dropout_;
};

}  // namespace gradcache
