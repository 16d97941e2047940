#include "losses/tower.h"

namespace gradcache {

std::unique_ptr<Tower> Tower::of(const at::Tensor& representations, bool cosine) {
  return representations.layout() == at::kSparse ? sparseTower(representations, cosine)
                                                 : denseTower(representations, cosine);
}

}  // namespace gradcache
