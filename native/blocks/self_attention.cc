#include "blocks/self_attention.h"

#include <utility>

#include "kernels/dropout/dropout.h"
#include "kernels/rows/rows.h"
#include "model/sequence_rows.h"

namespace gradcache {

namespace {

std::vector<Linear::Part> projections(const std::vector<std::string>& names,
                                      const kernels::AttentionForm& form) {
  if (names.size() == 1) return {{names[0], form.columns()}};
  const int64_t keys = form.keyHeads * form.size;
  return {{names[0], form.heads * form.size}, {names[1], keys}, {names[2], keys}};
}

std::optional<ParameterId> headNorm(const std::string& name, const SelfAttention::Options& options,
                                    Builder& builder) {
  if (name.empty()) return std::nullopt;
  const Initial initial = options.normOffset == 0 ? Initial{} : Initial::constant(1 - options.normOffset);
  return builder.parameters.add({{name + ".weight", {options.form.size}, false, initial}});
}

}  // namespace

SelfAttention::SelfAttention(const Names& names, const Options& options, Builder& builder)
    : options_(options),
      qkv_(builder.parameters, projections(names.projections, options.form), options.hidden, options.bias, {},
           {}, {.outputGradient = true}),
      queryNorm_(headNorm(names.queryNorm, options, builder)),
      keyNorm_(headNorm(names.keyNorm, options, builder)),
      output_(builder.parameters, std::vector<Linear::Part>{{names.output, options.hidden}},
              options.form.heads * options.form.size, options.outputBias, {}, {},
              {.input = true, .outputGradient = true}),
      dropout_(builder.dropout(options.dropout)) {
  if (options.disentangled) disentangled_.emplace(*options.disentangled, options.form, builder);
}

kernels::HeadLayout SelfAttention::layout() const {
  return {options_.form.heads, options_.form.keyHeads, options_.form.size};
}

kernels::HeadNorms SelfAttention::norms(const Pass& pass) const {
  if (!queryNorm_) return {};
  return {pass.weight(*queryNorm_), pass.weight(*keyNorm_), options_.normEpsilon, options_.normOffset};
}

kernels::HeadRows SelfAttention::prepared(const at::Tensor& qkv, const Pass& pass) const {
  return kernels::preparedHeads(qkv, layout(), norms(pass),
                                options_.rotary ? options_.rotary->of(pass) : kernels::Rotation{});
}

at::Tensor SelfAttention::distances(const Pass& pass) const {
  return options_.distanceBias ? options_.distanceBias->values(pass) : at::Tensor();
}

at::Tensor SelfAttention::keptHeads(const at::Tensor& rows, const Pass& pass) const {
  const DropoutKey key = drophead_.key(pass);
  if (!key.active()) return rows;
  const int64_t sequences = pass.tokens.sequences();
  const at::Tensor kept =
      kernels::dropoutOfRows(at::ones({sequences, options_.form.heads}, rows.options().dtype(at::kFloat)),
                             at::arange(sequences, rows.options().dtype(at::kLong)), key);
  return rows.view({rows.size(0), options_.form.heads, -1})
      .mul(kept.index_select(0, sequenceOfTokens(pass)).unsqueeze(2))
      .to(rows.scalar_type())
      .view_as(rows);
}

at::Tensor SelfAttention::forward(const at::Tensor& x, const Pass& pass, Tape* tape) const {
  Tape kept;
  const bool save = tape != nullptr;
  at::Tensor qkv = qkv_.forward(x, pass, save ? &kept.qkvRows : nullptr);
  kernels::Attention attention;
  if (disentangled_) {
    attention.out = disentangled_->forward(qkv, qkv_, pass, dropout_.key(pass));
  } else {
    attention = kernels::attention(prepared(qkv, pass), pass.sequences(), options_.form, distances(pass),
                                   dropout_.key(pass), output_.inputRoom());
  }
  at::Tensor y = output_.product(keptHeads(attention.out, pass), pass, save ? &kept.outputRows : nullptr);
  if (!save) return y;
  kept.qkv = std::move(qkv);
  kept.attention = std::move(attention);
  *tape = std::move(kept);
  return y;
}

SelfAttention::Gradient SelfAttention::backward(const at::Tensor& dy, Tape tape, const Pass& pass) const {
  at::Tensor dheads = keptHeads(output_.inputGradient(dy, pass, &tape.outputRows), pass);
  output_.addWeightGradient(dy, keptHeads(tape.attention.out, pass), pass, tape.outputRows);
  tape.outputRows = {};
  if (disentangled_)
    return {disentangled_->backward(dheads, tape.qkv, qkv_, pass, dropout_.key(pass)),
            std::move(tape.qkvRows)};
  const at::Tensor distanceGradient =
      options_.distanceBias ? options_.distanceBias->zeroGradient(pass) : at::Tensor();
  // Without norms, the tape has the rows as they were written over.
  const kernels::HeadRows ready =
      queryNorm_ ? prepared(tape.qkv, pass) : kernels::HeadRows::in(tape.qkv, layout().valueColumns());
  at::Tensor dqkv = kernels::attentionBackward(dheads, ready, tape.attention, pass.sequences(), options_.form,
                                               distances(pass), dropout_.key(pass), distanceGradient,
                                               qkv_.outputGradientRoom(pass));
  if (options_.distanceBias) options_.distanceBias->addGradient(distanceGradient, pass);
  tape.attention = {};
  dheads.reset();
  dqkv = kernels::preparedHeadsBackward(dqkv, tape.qkv, layout(), norms(pass),
                                        options_.rotary ? options_.rotary->of(pass) : kernels::Rotation{},
                                        queryNorm_ ? pass.gradient(*queryNorm_) : at::Tensor(),
                                        keyNorm_ ? pass.gradient(*keyNorm_) : at::Tensor());
  return {std::move(dqkv), std::move(tape.qkvRows)};
}

at::Tensor SelfAttention::addInputGradient(at::Tensor dx, Gradient& dqkv, const Pass& pass) const {
  return qkv_.addInputGradient(std::move(dx), dqkv.qkv, pass, &dqkv.rows);
}

void SelfAttention::addProductGradient(const Gradient& dqkv, const at::Tensor& x, const Pass& pass) const {
  qkv_.addWeightGradient(dqkv.qkv, x, pass, dqkv.rows);
  if (const at::Tensor bias = qkv_.biasGradient(pass); bias.defined()) kernels::addColumnSum(bias, dqkv.qkv);
}

int64_t SelfAttention::tapeBytes(const ChunkSize& chunk) const {
  // Queries, keys and values, what attention gives, and its normalizer of each head.
  const kernels::AttentionForm& form = options_.form;
  return chunk.tokens * ((form.columns() + form.heads * form.size + output_.inputRoom()) * chunk.element +
                         form.heads * chunk.wide) +
         qkv_.rowsBytes(chunk) + output_.rowsBytes(chunk);
}

}  // namespace gradcache
