// Draws of the next token.
#pragma once

#include <ATen/ATen.h>

#include <vector>

namespace gradcache {

// Applied in this order, as transformers does.
struct Sampling {
  double temperature = 1;  // divides the log-probabilities; 0: the most probable token
  int64_t topK = 0;        // the most probable tokens to choose from; 0: all
  // To choose from the fewest of the most probable tokens that together have this probability.
  double topP = 1;
};

// One token for each row of log-probabilities [n, vocabulary], with a number from [0, 1) for each.
std::vector<int32_t> drawTokens(const at::Tensor& logProbabilities, const Sampling& sampling,
                                const std::vector<double>& numbers);

}  // namespace gradcache
