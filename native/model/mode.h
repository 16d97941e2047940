// How a model reads its tokens.
#pragma once

namespace gradcache {

enum class Mode {
  kInference,     // no dropout, no graph
  kWithoutGraph,  // dropout under the seed, no graph: the first pass of a step
  kWithGraph,     // dropout under the seed, with a graph: the second
};

}  // namespace gradcache
