// BERT (Devlin et al. 2019), and with it MiniLM, e5, bge, gte: names of transformers' BertModel.
#include "encoders/architecture.h"

namespace gradcache {

Architecture bert() {
  Architecture architecture;
  architecture.types = "embeddings.token_type_embeddings";
  architecture.layer = [](int64_t layer) {
    const std::string root = "encoder.layer." + std::to_string(layer);
    return LayerNames{root + ".attention.self.query",
                      root + ".attention.self.key",
                      root + ".attention.self.value",
                      root + ".attention.output.dense",
                      root + ".attention.output.LayerNorm",
                      root + ".intermediate.dense",
                      root + ".output.dense",
                      root + ".output.LayerNorm"};
  };
  return architecture;
}

}  // namespace gradcache
