// Texts that lie end to end: where each begins and ends.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <vector>

namespace gradcache::kernels {

namespace composite {
struct Rectangles;
}

struct Sequences {
  const std::vector<int64_t>& offsets;  // [n + 1], on the host
  const at::Tensor& deviceOffsets;      // int32 [n + 1], on the device of the tokens
  int64_t longest;
  // So many tokens at the beginning of each sequence are left out of what is made of it: a prompt's.
  int64_t skipped = 0;
  // [n], where the tokens of each sequence end that others attend to: those behind them attend, and nothing
  // attends to them. On the host, and int64 on the device of the tokens. Null and undefined: to all tokens.
  const std::vector<int64_t>* keyEnds = nullptr;
  at::Tensor deviceKeyEnds{};
  // Where the rectangles of these sequences are kept from call to call; null: nowhere.
  std::shared_ptr<const composite::Rectangles>* rectangles = nullptr;
};

}  // namespace gradcache::kernels
