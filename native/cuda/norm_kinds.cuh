// What the kernels of norms are instantiated for.
#pragma once

namespace gradcache::cuda {

// What a norm is of.
enum class Summed {
  kBranch,        // residual + dropout(x + bias)
  kNormedBranch,  // residual + dropout(norm(x + bias))
  kEmbedding,     // x[ids] + residual[places] + bias, x and residual being the tables
};

}  // namespace gradcache::cuda
