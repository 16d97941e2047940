// The projections of SRU++ (Lei 2021), from attention in a narrower space:
//   z = Wq x;  [k; v] = Wkv z;  a = softmax(z k^T / sqrt(head)) v;  u = Wo drop(norm(z + alpha a))
// In a layer without attention u = Wo drop(norm(z)).
#pragma once

#include <optional>
#include <string>

#include "blocks/sru_projection.h"
#include "blocks/wide_attention.h"
#include "model/normalization.h"

namespace gradcache {

class AttentiveProjection final : public SruProjection {
 public:
  struct Options {
    int64_t width;  // columns of z
    bool attention = true;
    int64_t heads = 1;
    // As in a language model: a token attends to earlier ones, and to the inputs that the pass carries as
    // memory. Else to all of its sequence.
    bool causal = false;
    double dropout = 0, attentionDropout = 0;
    double normEpsilon = 1e-5;
  };
  // Parameters `name`.query.weight, .key_value.weight, .alpha, .attention_norm and .projection.weight.
  AttentiveProjection(const std::string& name, int64_t in, int64_t columns, const Options& options,
                      Builder& builder);

  at::Tensor forward(const at::Tensor& x, const Pass& pass, Tape* tape) const override;
  at::Tensor backward(const at::Tensor& du, const at::Tensor& x, at::Tensor dx, Tape tape,
                      const Pass& pass) const override;
  int64_t tapeBytes(const ChunkSize& chunk) const override;

 private:
  struct Attention {
    Linear keyValue;
    ParameterId alpha;
    Dropout dropout;
    std::optional<Carry> memory;
  };
  struct Kept {
    at::Tensor z, kv;              // [T, width], [T, 2 width]
    at::Tensor memoryZ, memoryKv;  // the same of the memory's rows, end to end
    at::Tensor attended;           // a
    kernels::Norm norm;            // without y
  };
  at::Tensor attend(const at::Tensor& x, const Pass& pass, Kept& kept) const;
  // From dL/da to what of dL/dz goes through the attention.
  at::Tensor attendBackward(const at::Tensor& dattended, const Kept& kept, const Pass& pass) const;
  WideAttention attentionOf(const Kept& kept, const Pass& pass) const;
  // The memory's rows [n * rows, in]; undefined: none.
  at::Tensor memoryRows(const Pass& pass) const;
  void remember(const at::Tensor& x, const Pass& pass) const;

  Options options_;
  Linear query_;
  std::optional<Attention> attention_;
  Normalization norm_;
  Dropout dropout_;
  Linear output_;
};

}  // namespace gradcache
