// ELECTRA (Clark et al. 2020): BERT whose embeddings may have another width than its layers, with a
// projection between the two.
#include "blocks/post_norm_layer.h"
#include "blocks/table_embeddings.h"
#include "encoders/architectures.h"
#include "kernels/rows/rows.h"

namespace gradcache {

namespace {

class Projection final : public Block {
 public:
  Projection(int64_t in, int64_t out, Builder& builder)
      : width_(out), linear_(builder.parameters, {"embeddings_project"}, in, out) {}

  Stream forward(const Stream& x, const Pass& pass, Tape* tape) const override {
    if (tape != nullptr) *tape = x.kept();
    return {linear_.forward(x.rows, pass)};
  }

  at::Tensor backward(const at::Tensor& dy, Tape tape, const Pass& pass) const override {
    linear_.addWeightGradient(dy, std::any_cast<const Stream&>(tape).recalled(), pass);
    kernels::addColumnSum(linear_.biasGradient(pass), dy);
    return linear_.inputGradient(dy, pass);
  }

  int64_t tapeBytes(const ChunkSize& chunk) const override { return chunk.tokens * width_ * chunk.element; }

 private:
  int64_t width_;
  Linear linear_;
};

}  // namespace

Architecture electra(const Settings& settings, Builder& builder) {
  const TokenRules rules = tokenRules(settings);
  const auto options = PostNormLayer::Options::from(settings);
  const int64_t embedding = settings.size("embedding");
  const TableEmbeddings::Names names{.types = "embeddings.token_type_embeddings"};
  builder.add<TableEmbeddings>(names, embedding, rules, settings);
  if (embedding != options.attention.hidden) builder.add<Projection>(embedding, options.attention.hidden);
  for (int64_t k = 0; k < settings.size("layers", 1, kMostLayers); ++k)
    builder.add<PostNormLayer>(PostNormLayer::Names::ofBert(k), options);
  return {rules, options.attention.hidden};
}

}  // namespace gradcache
