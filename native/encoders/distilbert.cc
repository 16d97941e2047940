// DistilBERT (Sanh et al. 2019): BERT's layer under names of its own, without token types and without
// dropout between attention and the residual.
#include "encoders/architecture.h"

namespace gradcache {

Architecture distilbert() {
  Architecture architecture;
  architecture.dropoutAfterAttention = false;
  architecture.layer = [](int64_t layer) {
    const std::string root = "transformer.layer." + std::to_string(layer);
    return LayerNames{root + ".attention.q_lin",   root + ".attention.k_lin",  root + ".attention.v_lin",
                      root + ".attention.out_lin", root + ".sa_layer_norm",    root + ".ffn.lin1",
                      root + ".ffn.lin2",          root + ".output_layer_norm"};
  };
  return architecture;
}

}  // namespace gradcache
