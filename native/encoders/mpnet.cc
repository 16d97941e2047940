// MPNet (Song et al. 2020): no token types, RoBERTa's positions, and a learned bias by distance shared by all
// layers.
#include "encoders/architecture.h"

namespace gradcache {

Architecture mpnet() {
  Architecture architecture;
  architecture.positionsAfterPadding = true;
  architecture.distanceBias = "encoder.relative_attention_bias";
  architecture.layer = [](int64_t layer) {
    const std::string root = "encoder.layer." + std::to_string(layer);
    return LayerNames{root + ".attention.attn.q", root + ".attention.attn.k",    root + ".attention.attn.v",
                      root + ".attention.attn.o", root + ".attention.LayerNorm", root + ".intermediate.dense",
                      root + ".output.dense",     root + ".output.LayerNorm"};
  };
  return architecture;
}

}  // namespace gradcache
