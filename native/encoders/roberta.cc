// RoBERTa (Liu et al. 2019) and XLM-RoBERTa: BERT's names, positions numbered from the padding token's id on.
#include "encoders/architecture.h"

namespace gradcache {

Architecture roberta() {
  Architecture architecture = bert();
  architecture.positionsAfterPadding = true;
  return architecture;
}

}  // namespace gradcache
