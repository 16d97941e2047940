#include "kernels/attention/rectangles.h"

#include <algorithm>

namespace gradcache::kernels::composite {

namespace {

// The rectangle of sequences [first, last).
Rectangle rectangle(const Sequences& sequences, int64_t first, int64_t last, int64_t longest) {
  const int64_t firstToken = sequences.offsets[first], count = sequences.offsets[last] - firstToken;
  at::Tensor offsets =
      sequences.deviceOffsets.narrow(0, first, last - first + 1).to(at::kLong).sub(firstToken);
  at::Tensor numbers = at::arange(count, offsets.options());
  // Of numbers of tokens that go on behind a sequence's end.
  const auto keys = [&](const at::Tensor& tokens) {
    if (sequences.keyEnds == nullptr) return at::Tensor();
    return tokens.lt(sequences.deviceKeyEnds.narrow(0, first, last - first).sub(firstToken).unsqueeze(1));
  };
  if (count == (last - first) * longest) {
    const at::Tensor tokens = numbers.view({-1, longest});
    return {firstToken, count, tokens, {}, {}, keys(tokens), {}};
  }
  at::Tensor begins = offsets.narrow(0, 0, last - first), ends = offsets.narrow(0, 1, last - first);
  at::Tensor tokens = begins.unsqueeze(1).add(at::arange(longest, offsets.options()).unsqueeze(0));
  at::Tensor present = tokens.lt(ends.unsqueeze(1));
  at::Tensor owner = at::searchsorted(ends, numbers, /*out_int32=*/false, /*right=*/true);
  at::Tensor places = owner.mul(longest).add(numbers).sub(begins.index_select(0, owner));
  return {firstToken,   count, at::minimum(tokens, ends.unsqueeze(1).sub(1)), present, places,
          keys(tokens), {}};
}

at::Tensor numbersOfQueries(const Rectangle& shape, int64_t heads) {
  const int64_t first = shape.firstToken * heads;
  return at::arange(first, first + heads, shape.tokens.options())
      .view({1, heads, 1})
      .add(shape.tokens.unsqueeze(1), heads);
}

Rectangles allOf(const Sequences& sequences, int64_t heads, bool numbered) {
  Rectangles all{heads, numbered, {}};
  const int64_t n = static_cast<int64_t>(sequences.offsets.size()) - 1;
  for (int64_t first = 0, last = 0; first < n; first = last) {
    int64_t longest = 0;
    for (; last < n; ++last) {
      const int64_t length = sequences.offsets[last + 1] - sequences.offsets[last];
      const int64_t side = std::max(longest, length);
      if (last > first && (last + 1 - first) * heads * side * side > kMostPairs) break;
      longest = side;
    }
    all.list.push_back(rectangle(sequences, first, last, longest));
    if (numbered) all.list.back().queries = numbersOfQueries(all.list.back(), heads);
  }
  return all;
}

}  // namespace

std::shared_ptr<const Rectangles> rectanglesOf(const Sequences& sequences, int64_t heads, bool numbered) {
  if (sequences.rectangles != nullptr) {
    const std::shared_ptr<const Rectangles>& kept = *sequences.rectangles;
    if (kept && kept->heads == heads && (kept->numbered || !numbered)) return kept;
  }
  auto all = std::make_shared<const Rectangles>(allOf(sequences, heads, numbered));
  if (sequences.rectangles != nullptr) *sequences.rectangles = all;
  return all;
}

at::Tensor spread(const at::Tensor& rows, const Rectangle& shape, int64_t heads) {
  at::Tensor padded = shape.present.defined() ? rows.index_select(0, shape.tokens.view({-1})) : rows;
  return padded.view({shape.tokens.size(0), shape.tokens.size(1), heads, -1}).transpose(1, 2);
}

void gatherInto(const at::Tensor& rows, const std::vector<at::Tensor>& parts, const Rectangle& shape) {
  std::vector<at::Tensor> byToken;  // [n, longest, heads, d]
  for (const at::Tensor& part : parts) byToken.push_back(part.transpose(1, 2));
  if (shape.present.defined()) {
    at::Tensor target = rows;
    at::index_select_out(target, at::cat(byToken, 2).view({shape.tokens.numel(), -1}), 0, shape.places);
  } else {
    at::Tensor target = rows.view({shape.tokens.size(0), shape.tokens.size(1), -1, parts.front().size(3)});
    at::cat_out(target, byToken, 2);
  }
}

}  // namespace gradcache::kernels::composite
