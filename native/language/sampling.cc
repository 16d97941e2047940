#include "language/sampling.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace gradcache {

std::vector<int32_t> drawTokens(const at::Tensor& logProbabilities, const Sampling& sampling,
                                const std::vector<double>& numbers) {
  const int64_t rows = logProbabilities.size(0), vocabulary = logProbabilities.size(1);
  require(static_cast<int64_t>(numbers.size()) == rows, "SHAPE", numbers.size(), " numbers for ", rows,
          " rows");
  require(sampling.temperature >= 0 && std::isfinite(sampling.temperature) && sampling.topK >= 0 &&
              sampling.topP > 0 && sampling.topP <= 1,
          "INPUT", "temperature ", sampling.temperature, ", topK ", sampling.topK, " and topP ",
          sampling.topP, " draw nothing");
  // Else a GPU would be asked for a token that is not there, which ends all work on it.
  require(!logProbabilities.isnan().any().item<bool>(), "NON_FINITE",
          "the model gives tokens no probabilities: its weights have diverged");
  const int64_t choices = sampling.topK == 0 ? vocabulary : std::min<int64_t>(sampling.topK, vocabulary);
  at::Tensor tokens;
  if (sampling.temperature == 0) {
    tokens = logProbabilities.argmax(1, /*keepdim=*/true);
  } else {
    // Stable, so that equal probabilities are chosen from alike on every run.
    auto [sorted, order] = at::sort(logProbabilities, std::optional<bool>(true), 1, /*descending=*/true);
    at::Tensor probabilities =
        at::softmax(sorted.narrow(1, 0, choices).to(at::kDouble).div(sampling.temperature), 1);
    if (sampling.topP < 1) {
      // A token stays if those before it do not reach topP; the first always does.
      const at::Tensor before = probabilities.cumsum(1) - probabilities;
      at::Tensor dropped = before.ge(sampling.topP);
      dropped.narrow(1, 0, 1).fill_(false);
      probabilities.masked_fill_(dropped, 0);
    }
    const at::Tensor sums = probabilities.cumsum(1);
    const at::Tensor number = at::tensor(numbers, at::kDouble).to(sums.device()).unsqueeze(1);
    const at::Tensor last = probabilities.gt(0).sum(1, /*keepdim=*/true).sub(1);
    const at::Tensor place =
        at::minimum(sums.le(number * sums.narrow(1, choices - 1, 1)).sum(1, /*keepdim=*/true), last);
    tokens = order.gather(1, place);
  }
  const at::Tensor host = tokens.squeeze(1).to(at::TensorOptions().device(at::kCPU).dtype(at::kInt));
  const auto* data = host.const_data_ptr<int32_t>();
  return std::vector<int32_t>(data, data + rows);
}

}  // namespace gradcache
