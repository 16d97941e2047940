#include <ATen/Context.h>

#include <cmath>
#include <optional>
#include <vector>

#include "core/error.h"
#include "core/seeded_generators.h"
#include "kernels/attention/versions.h"
#include "kernels/cuda/rows.h"

namespace gradcache::kernels::cuda {

namespace {

// Sequences up to this length use the library's kernel. Beyond, flash attention is faster on an H200 (by a
// fifth at 512 tokens).
constexpr int64_t kFlashBeyond = 256;

bool takesKernel(const Sequences& sequences, int64_t size, const at::Tensor& distanceBias) {
  const int64_t longest = library().attentionLongest(static_cast<int32_t>(size));
  if (longest == 0) return false;
  // Flash attention has no distance bias.
  if (distanceBias.defined()) {
    require(sequences.longest <= longest, "INPUT", "a sequence of ", sequences.longest,
            " tokens is longer than attention with a distance bias takes, ", longest);
    return true;
  }
  return sequences.longest <= kFlashBeyond;
}

GradcacheSequences describe(const at::Tensor& qkv, const Sequences& sequences, int64_t heads) {
  return {sequences.deviceOffsets.const_data_ptr<int32_t>(),
          static_cast<int32_t>(sequences.offsets.size()) - 1,
          static_cast<int32_t>(sequences.longest),
          static_cast<int32_t>(heads),
          static_cast<int32_t>(qkv.size(1) / 3 / heads),
          qkv.size(0),
          currentStream(qkv.device())};
}

float scaleOf(const at::Tensor& qkv, int64_t heads) {
  return 1.0f / std::sqrt(static_cast<float>(qkv.size(1) / 3 / heads));
}

double probability(const DropoutKey& key) { return key.threshold / 65536.0; }

uint64_t seedOf(const DropoutKey& key) { return (static_cast<uint64_t>(key.second) << 32) | key.first; }

}  // namespace

bool takesAttention(const at::Tensor& qkv, int64_t heads, const at::Tensor& distanceBias) {
  const auto size = static_cast<int32_t>(qkv.size(1) / 3 / heads);
  if (!takesRows(qkv) || qkv.scalar_type() != at::kBFloat16) return false;
  // Flash attention supports other head sizes, but no bias.
  return library().attentionLongest(size) > 0 || (size % 8 == 0 && size <= 256 && !distanceBias.defined());
}

Attention attention(const at::Tensor& qkv, const Sequences& sequences, int64_t heads,
                    const at::Tensor& distanceBias, const DropoutKey& key) {
  const int64_t size = qkv.size(1) / 3 / heads;
  Attention result;
  if (takesKernel(sequences, size, distanceBias)) {
    result.out = at::empty({qkv.size(0), heads * size}, qkv.options());
    result.normalizer = at::empty({heads, qkv.size(0)}, qkv.options().dtype(at::kFloat));
    const GradcacheSequences described = describe(qkv, sequences, heads);
    check(library().attentionForward(&described, qkv.const_data_ptr(), input(distanceBias),
                                     scaleOf(qkv, heads), key, result.out.mutable_data_ptr(),
                                     result.normalizer.mutable_data_ptr<float>()),
          "attention");
    return result;
  }
  auto parts = qkv.view({-1, 3, heads, size}).unbind(1);
  // Flash attention only draws from the device's default generator.
  std::optional<SeededGenerators> seeded;
  if (key.active()) {
    const std::vector<at::Generator> drawnFrom{at::globalContext().defaultGenerator(qkv.device())};
    seeded.emplace(drawnFrom, seedOf(key));
  }
  auto [out, normalizer, state, unused, mask] = at::_flash_attention_forward(
      parts[0], parts[1], parts[2], sequences.deviceOffsets, sequences.deviceOffsets, sequences.longest,
      sequences.longest, probability(key), /*is_causal=*/false, /*return_debug_mask=*/false);
  if (seeded) seeded->restore();
  result.out = out.reshape({qkv.size(0), heads * size});
  result.normalizer = normalizer;
  result.randomState = state;
  result.randomUnused = unused;
  return result;
}

at::Tensor attentionBackward(const at::Tensor& dout, const at::Tensor& qkv, const Attention& saved,
                             const Sequences& sequences, int64_t heads, const at::Tensor& distanceBias,
                             const DropoutKey& key) {
  const int64_t size = qkv.size(1) / 3 / heads;
  at::Tensor gradient = dout.contiguous();
  if (takesKernel(sequences, size, distanceBias)) {
    at::Tensor dqkv = at::empty_like(qkv);
    const GradcacheSequences described = describe(qkv, sequences, heads);
    check(library().attentionBackward(&described, gradient.const_data_ptr(), qkv.const_data_ptr(),
                                      saved.out.const_data_ptr(), saved.normalizer.const_data_ptr<float>(),
                                      input(distanceBias), scaleOf(qkv, heads), key, dqkv.mutable_data_ptr()),
          "attention backward");
    return dqkv;
  }
  auto parts = qkv.view({-1, 3, heads, size}).unbind(1);
  auto [dq, dk, dv] = at::_flash_attention_backward(
      gradient.view({-1, heads, size}), parts[0], parts[1], parts[2], saved.out.view({-1, heads, size}),
      saved.normalizer, sequences.deviceOffsets, sequences.deviceOffsets, sequences.longest,
      sequences.longest, probability(key),
      /*is_causal=*/false, saved.randomState, saved.randomUnused);
  return at::stack({dq, dk, dv}, 1).view({qkv.size(0), qkv.size(1)});
}

}  // namespace gradcache::kernels::cuda
