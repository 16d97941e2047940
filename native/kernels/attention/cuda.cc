#include <ATen/Context.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "core/error.h"
#include "core/seeded_generators.h"
#include "kernels/attention/versions.h"
#include "kernels/cuda/rows.h"
#include "kernels/room.h"

namespace gradcache::kernels::cuda {

namespace {

// The most keys that a query sees where the library's kernel is the faster one on an H200, forward twice and
// backward once (bench/RESULTS.md, attention by length). Beyond, it is flash attention, by its larger tiles.
int64_t mostKeys(const AttentionForm& form) {
  if (form.size > 128) return 96;
  return form.size == 128 || form.keyHeads < form.heads ? 512 : 256;
}

// The longest sequence that the library's kernel takes; 0: it has none for this form.
int64_t longestOfKernel(const AttentionForm& form, bool seesAll, bool dropped) {
  const bool general = !seesAll || form.keyHeads < form.heads;
  return library().attentionLongest(static_cast<int32_t>(form.size), general, dropped);
}

bool takesKernel(const Sequences& sequences, const AttentionForm& form, const at::Tensor& distanceBias,
                 const DropoutKey& key) {
  const int64_t longest =
      longestOfKernel(form, form.seesAll(sequences.longest), key.active() || distanceBias.defined());
  if (longest == 0) return false;
  // Flash attention has no distance bias.
  if (distanceBias.defined()) {
    require(sequences.longest <= longest, "INPUT", "a sequence of ", sequences.longest,
            " tokens is longer than attention with a distance bias takes, ", longest);
    return true;
  }
  return sequences.longest <= longest && form.keysSeen(sequences.longest) <= mostKeys(form);
}

GradcacheSequences describe(const at::Tensor& rows, const Sequences& sequences, const AttentionForm& form) {
  // Beyond the longest sequence there is nothing to see.
  const auto window = static_cast<int32_t>(std::min(form.window, sequences.longest));
  return {sequences.deviceOffsets.const_data_ptr<int32_t>(),
          static_cast<int32_t>(sequences.offsets.size()) - 1,
          static_cast<int32_t>(sequences.longest),
          static_cast<int32_t>(form.heads),
          static_cast<int32_t>(form.keyHeads),
          static_cast<int32_t>(form.size),
          window,
          form.causal ? 0 : window,
          rows.size(0),
          currentStream(rows.device())};
}

GradcacheHeadRows describe(const HeadRows& rows) {
  return {rows.queriesKeys.const_data_ptr(), rowStride(rows.queriesKeys), rows.values.const_data_ptr(),
          rowStride(rows.values)};
}

struct Parts {
  at::Tensor queries, keys, values;  // [T, heads, size], views
};

Parts partsOf(const HeadRows& rows, const AttentionForm& form) {
  const auto heads = [&](const at::Tensor& part) { return part.unflatten(1, {-1, form.size}); };
  const at::Tensor queriesKeys = heads(rows.queriesKeys);
  return {queriesKeys.narrow(1, 0, form.heads), queriesKeys.narrow(1, form.heads, form.keyHeads),
          heads(rows.values)};
}

// How many keys on either side flash attention shows to a query; nothing: all.
std::optional<int64_t> reach(const Sequences& sequences, const AttentionForm& form, bool behind) {
  if (behind && form.causal) return 0;
  if (!form.windowed(sequences.longest)) return std::nullopt;
  return form.window;
}

double probability(const DropoutKey& key) { return key.threshold / 65536.0; }

uint64_t seedOf(const DropoutKey& key) { return (static_cast<uint64_t>(key.second) << 32) | key.first; }

}  // namespace

bool takesAttention(const HeadRows& rows, const AttentionForm& form, const at::Tensor& distanceBias) {
  const at::Tensor& values = rows.values;
  if (!takesRows(values) || values.scalar_type() != at::kBFloat16 || form.softCap != 0) return false;
  // Flash attention takes other forms and sizes, but no bias.
  const bool flash = form.size % 8 == 0 && form.size <= 256 && !distanceBias.defined();
  const bool seesAll = !form.causal && form.window == AttentionForm::kUnlimited;
  return flash || longestOfKernel(form, seesAll, true) > 0;
}

Attention attention(const HeadRows& rows, const Sequences& sequences, const AttentionForm& form,
                    const at::Tensor& distanceBias, const DropoutKey& key, int64_t room) {
  Attention result;
  const at::Tensor& values = rows.values;
  const int64_t tokens = values.size(0);
  if (takesKernel(sequences, form, distanceBias, key)) {
    result.out = emptyRows(tokens, form.heads * form.size, room, values.options());
    result.normalizer = at::empty({form.heads, tokens}, values.options().dtype(at::kFloat));
    const GradcacheSequences described = describe(values, sequences, form);
    const GradcacheHeadRows in = describe(rows);
    check(library().attentionForward(&described, &in, input(distanceBias), static_cast<float>(form.scale),
                                     key, result.out.mutable_data_ptr(), rowStride(result.out),
                                     result.normalizer.mutable_data_ptr<float>()),
          "attention");
    return result;
  }
  const Parts parts = partsOf(rows, form);
  // Flash attention only draws from the device's default generator.
  std::optional<SeededGenerators> seeded;
  if (key.active()) {
    const std::vector<at::Generator> drawnFrom{at::globalContext().defaultGenerator(values.device())};
    seeded.emplace(drawnFrom, seedOf(key));
  }
  auto [out, normalizer, state, unused, mask] = at::_flash_attention_forward(
      parts.queries, parts.keys, parts.values, sequences.deviceOffsets, sequences.deviceOffsets,
      sequences.longest, sequences.longest, probability(key), form.causal, /*return_debug_mask=*/false,
      form.scale, reach(sequences, form, false), reach(sequences, form, true));
  if (seeded) seeded->restore();
  result.out = out.reshape({tokens, form.heads * form.size});
  result.normalizer = normalizer;
  result.randomState = state;
  result.randomUnused = unused;
  return result;
}

at::Tensor attentionBackward(const at::Tensor& dout, const HeadRows& rows, const Attention& saved,
                             const Sequences& sequences, const AttentionForm& form,
                             const at::Tensor& distanceBias, const DropoutKey& key, int64_t room) {
  at::Tensor gradient = dout.contiguous();
  const at::Tensor& values = rows.values;
  if (takesKernel(sequences, form, distanceBias, key)) {
    at::Tensor dqkv = emptyRows(values.size(0), form.columns(), room, values.options());
    const GradcacheSequences described = describe(values, sequences, form);
    const GradcacheHeadRows in = describe(rows);
    check(library().attentionBackward(&described, gradient.const_data_ptr(), &in, saved.out.const_data_ptr(),
                                      rowStride(saved.out), saved.normalizer.const_data_ptr<float>(),
                                      input(distanceBias), static_cast<float>(form.scale), key,
                                      dqkv.mutable_data_ptr(), rowStride(dqkv)),
          "attention backward");
    return dqkv;
  }
  const Parts parts = partsOf(rows, form);
  auto [dq, dk, dv] = at::_flash_attention_backward(
      gradient.view({-1, form.heads, form.size}), parts.queries, parts.keys, parts.values,
      saved.out.view({-1, form.heads, form.size}), saved.normalizer, sequences.deviceOffsets,
      sequences.deviceOffsets, sequences.longest, sequences.longest, probability(key), form.causal,
      saved.randomState, saved.randomUnused, form.scale, reach(sequences, form, false),
      reach(sequences, form, true));
  return at::cat({dq, dk, dv}, 1).view({values.size(0), form.columns()});
}

}  // namespace gradcache::kernels::cuda
