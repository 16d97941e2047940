#include "losses/tower.h"

#include "core/error.h"

namespace gradcache {

DenseRows Tower::dense(int64_t, int64_t) { fail("INPUT", "the rows of the tower are not dense"); }

std::unique_ptr<Tower> Tower::of(const at::Tensor& representations, bool cosine) {
  return representations.layout() == at::kSparse ? sparseTower(representations, cosine)
                                                 : denseTower(representations, cosine);
}

}  // namespace gradcache
