#include "model/sequence_rows.h"

#include "kernels/dropout/dropout.h"

namespace gradcache {

namespace {

// What these tensors are kept under in a pass: each one's own address.
const char kSequences = 0, kFirst = 0, kLast = 0, kPlaces = 0;

at::Tensor offsets(const Pass& pass) { return pass.tokens.deviceOffsets.to(at::kLong); }

// int64 [T]: a token's row among those of `padded`.
const at::Tensor& paddedPlaces(const Pass& pass) {
  return pass.once(&kPlaces, [&] {
    const at::Tensor &sequence = sequenceOfTokens(pass), &first = firstTokens(pass);
    const at::Tensor start = at::arange(first.size(0), first.options()).mul_(pass.tokens.longest).sub_(first);
    return at::arange(sequence.size(0), sequence.options()).add_(start.index_select(0, sequence));
  });
}

}  // namespace

const at::Tensor& sequenceOfTokens(const Pass& pass) {
  return pass.once(&kSequences, [&] {
    const at::Tensor lengths = offsets(pass).diff();
    return at::repeat_interleave(at::arange(lengths.size(0), lengths.options()), lengths, 0,
                                 pass.tokens.tokens());
  });
}

const at::Tensor& firstTokens(const Pass& pass) {
  return pass.once(&kFirst, [&] { return offsets(pass).narrow(0, 0, pass.tokens.sequences()); });
}

const at::Tensor& lastTokens(const Pass& pass) {
  return pass.once(&kLast, [&] { return offsets(pass).narrow(0, 1, pass.tokens.sequences()).sub(1); });
}

bool sameLengths(const Pass& pass) {
  return pass.tokens.longest * pass.tokens.sequences() == pass.tokens.tokens();
}

at::Tensor padded(const at::Tensor& x, const Pass& pass) {
  const int64_t n = pass.tokens.sequences(), longest = pass.tokens.longest, width = x.size(1);
  if (sameLengths(pass)) return x.view({n, longest, width});
  return at::zeros({n * longest, width}, x.options())
      .index_copy_(0, paddedPlaces(pass), x)
      .view({n, longest, width});
}

at::Tensor packed(const at::Tensor& x, const Pass& pass) {
  const at::Tensor rows = x.reshape({x.size(0) * x.size(1), x.size(2)});
  return sameLengths(pass) ? rows : rows.index_select(0, paddedPlaces(pass));
}

at::Tensor dropoutOfSequences(const at::Tensor& x, const DropoutKey& key, const Pass& pass) {
  return key.active() ? kernels::dropoutOfRows(x, sequenceOfTokens(pass), key) : x;
}

}  // namespace gradcache
