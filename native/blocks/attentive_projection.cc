#include "blocks/attentive_projection.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/dropout/dropout.h"
#include "model/sequence_rows.h"

namespace gradcache {

AttentiveProjection::AttentiveProjection(const std::string& name, int64_t in, int64_t columns,
                                         const Options& options, Builder& builder)
    : options_(options),
      query_(builder.parameters, {name + ".query"}, in, options.width, /*bias=*/false,
             Initial::xavier(in, options.width)),
      attention_([&]() -> std::optional<Attention> {
        if (!options.attention) return std::nullopt;
        require(options.heads >= 1 && options.width % options.heads == 0, "CHECKPOINT", "a projection of ",
                options.width, " columns cannot be divided among ", options.heads, " heads");
        return Attention{
            Linear(builder.parameters, {name + ".key_value"}, options.width, 2 * options.width,
                   /*bias=*/false, Initial::xavier(options.width, 2 * options.width)),
            builder.parameters.add({{name + ".alpha", {1}, false}}),
            builder.dropout(options.attentionDropout),
            options.causal ? std::optional(builder.carry(CarriedKind::kMemory, in)) : std::nullopt};
      }()),
      norm_(builder.parameters, name + ".attention_norm", options.width, options.normEpsilon),
      dropout_(builder.dropout(options.dropout)),
      output_(builder.parameters, {name + ".projection"}, options.width, columns, /*bias=*/false,
              Initial::xavier(options.width, columns, std::sqrt(1 - options.dropout))) {}

at::Tensor AttentiveProjection::memoryRows(const Pass& pass) const {
  const at::Tensor memory = attention_->memory ? attention_->memory->before(pass) : at::Tensor();
  return memory.defined() && memory.size(1) > 0 ? memory.flatten(0, 1) : at::Tensor();
}

void AttentiveProjection::remember(const at::Tensor& x, const Pass& pass) const {
  if (!attention_->memory || !pass.carried || pass.carried->memory == 0) return;
  require(sameLengths(pass), "INPUT", "sequences whose inputs are remembered must be of one length");
  const at::Tensor before = attention_->memory->before(pass);
  at::Tensor rows = padded(x, pass);
  // The rows are a copy: a memory must not keep the whole segment.
  const int64_t most = pass.carried->memory, own = std::min(most, rows.size(1));
  rows = rows.narrow(1, rows.size(1) - own, own);
  const int64_t older = before.defined() ? std::min(most - own, before.size(1)) : 0;
  attention_->memory->setAfter(
      pass, older > 0 ? at::cat({before.narrow(1, before.size(1) - older, older), rows}, 1) : rows.clone());
}

WideAttention AttentiveProjection::attentionOf(const Kept& kept, const Pass& pass) const {
  const at::Tensor memory = kept.memoryKv.defined()
                                ? kept.memoryKv.view({pass.tokens.sequences(), -1, 2 * options_.width})
                                : at::Tensor();
  return {kept.z, kept.kv, memory, options_.heads, options_.causal, attention_->dropout.key(pass)};
}

at::Tensor AttentiveProjection::attend(const at::Tensor& x, const Pass& pass, Kept& kept) const {
  kept.kv = attention_->keyValue.product(kept.z, pass);
  if (const at::Tensor memory = memoryRows(pass); memory.defined()) {
    kept.memoryZ = query_.product(memory, pass);
    kept.memoryKv = attention_->keyValue.product(kept.memoryZ, pass);
  }
  remember(x, pass);
  return wideAttention(attentionOf(kept, pass), pass);
}

at::Tensor AttentiveProjection::forward(const at::Tensor& x, const Pass& pass, Tape* tape) const {
  Kept kept{query_.product(x, pass), {}, {}, {}, {}, {}};
  at::Tensor scaled;
  if (attention_) {
    kept.attended = attend(x, pass, kept);
    scaled = kept.attended.mul(pass.weight(attention_->alpha));
  }
  if (tape == nullptr) kept.kv = kept.memoryZ = kept.memoryKv = kept.attended = at::Tensor();
  const at::Tensor &sum = attention_ ? scaled : kept.z, &residual = attention_ ? kept.z : scaled;
  kept.norm = norm_.forward(sum, {}, residual, {}, pass, /*save=*/tape != nullptr);
  at::Tensor normed = std::exchange(kept.norm.y, {});
  if (tape != nullptr) *tape = std::move(kept);
  return output_.product(kernels::dropout(normed, dropout_.key(pass)), pass);
}

at::Tensor AttentiveProjection::attendBackward(const at::Tensor& dattended, const Kept& kept,
                                               const Pass& pass) const {
  const Linear& keyValue = attention_->keyValue;
  WideAttentionGradients gradients = wideAttentionBackward(dattended, attentionOf(kept, pass), pass);
  keyValue.addWeightGradient(gradients.kv, kept.z, pass);
  if (kept.memoryKv.defined()) {
    const at::Tensor dkv = gradients.remembered.flatten(0, 1);
    keyValue.addWeightGradient(dkv, kept.memoryZ, pass);
    query_.addWeightGradient(keyValue.inputGradient(dkv, pass), memoryRows(pass), pass);
  }
  return keyValue.addInputGradient(std::move(gradients.q), gradients.kv, pass);
}

at::Tensor AttentiveProjection::backward(const at::Tensor& du, const at::Tensor& x, at::Tensor dx, Tape tape,
                                         const Pass& pass) const {
  auto kept = std::any_cast<Kept>(std::move(tape));
  const DropoutKey key = dropout_.key(pass);
  kernels::NormGradients norm = norm_.backward(kernels::dropout(output_.inputGradient(du, pass), key),
                                               std::exchange(kept.norm, {}), {}, {}, pass,
                                               /*dsum=*/{}, kernels::Output::kAgain);
  output_.addWeightGradient(du, kernels::dropout(norm.y, key), pass);
  norm.y.reset();
  at::Tensor dz = norm.sum;
  if (attention_) {
    const at::Tensor& alpha = pass.gradient(attention_->alpha);
    // A sum of as many terms as there are elements, of both signs.
    alpha.add_(dz.to(alpha.scalar_type()).mul(kept.attended).sum(at::kDouble));
    dz = attendBackward(dz.mul(pass.weight(attention_->alpha)), kept, pass).add_(dz);
  }
  query_.addWeightGradient(dz, x, pass);
  return query_.addInputGradient(std::move(dx), dz, pass);
}

int64_t AttentiveProjection::tapeBytes(const ChunkSize& chunk) const {
  // z, its keys and values, the attention and its sum with z; two statistics of the norm.
  const int64_t columns = (attention_ ? 5 : 2) * options_.width;
  return chunk.tokens * (columns * chunk.element + 2 * chunk.wide);
}

}  // namespace gradcache
