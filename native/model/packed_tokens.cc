#include "model/packed_tokens.h"

#include <algorithm>
#include <limits>

#include "core/error.h"

namespace gradcache {

namespace {
// Number of int64 words for sequences + 1 int32 offsets.
int64_t offsetWords(int64_t sequences) { return (sequences + 2) / 2; }
}  // namespace

PackedTokens packTokens(const int32_t* ids, int64_t idCount, const int32_t* lengths, int64_t sequences,
                        const TokenRules& rules, bool pinned) {
  require(sequences > 0, "INPUT", "a chunk needs at least one sequence");
  PackedTokens packed;
  packed.offsets.reserve(static_cast<size_t>(sequences) + 1);
  packed.offsets.push_back(0);
  const int64_t limit = rules.afterPadding ? rules.positions - rules.paddingToken - 1 : rules.positions;
  for (int64_t s = 0; s < sequences; ++s) {
    require(lengths[s] > 0, "INPUT", "sequence ", s, " of the chunk has no token");
    require(lengths[s] <= limit, "INPUT", "sequence ", s, " has ", lengths[s],
            " tokens, the encoder has positions for ", limit);
    packed.longest = std::max<int64_t>(packed.longest, lengths[s]);
    packed.offsets.push_back(packed.offsets.back() + lengths[s]);
  }
  require(packed.offsets.back() <= std::numeric_limits<int32_t>::max(), "INPUT", "a chunk of ",
          packed.offsets.back(), " tokens is too long: offsets are numbers of 32 bits");
  require(packed.offsets.back() == idCount, "SHAPE", "the sequences have ", packed.offsets.back(),
          " tokens in all, ", idCount, " ids were given");

  packed.paddingToken = rules.paddingToken;
  packed.staged = at::empty({2 * idCount + offsetWords(sequences)},
                            at::TensorOptions().dtype(at::kLong).pinned_memory(pinned));
  auto* idData = packed.staged.mutable_data_ptr<int64_t>();
  int64_t* positionData = idData + idCount;
  auto* offsetData = reinterpret_cast<int32_t*>(positionData + idCount);
  offsetData[0] = 0;
  for (int64_t s = 0; s < sequences; ++s) {
    offsetData[s + 1] = static_cast<int32_t>(packed.offsets[s + 1]);
    int64_t next = rules.afterPadding ? rules.paddingToken + 1 : 0;
    for (int64_t t = packed.offsets[s]; t < packed.offsets[s + 1]; ++t) {
      require(ids[t] >= 0 && ids[t] < rules.vocabulary, "INPUT", "token id ", ids[t], " of sequence ", s,
              " is outside the vocabulary of ", rules.vocabulary);
      idData[t] = ids[t];
      const bool padding = ids[t] == rules.paddingToken;
      packed.anyPadding |= padding;
      positionData[t] = padding && rules.afterPadding ? rules.paddingToken : next++;
    }
  }
  return packed;
}

void PackedTokens::moveTo(at::Device device) {
  at::Tensor all = staged.to(device, /*non_blocking=*/true);
  const int64_t count = tokens(), n = sequences();
  ids = all.narrow(0, 0, count);
  positions = all.narrow(0, count, count);
  deviceOffsets = all.narrow(0, 2 * count, offsetWords(n)).view(at::kInt).narrow(0, 0, n + 1);
  if (anyPadding) padding = ids.eq(paddingToken).unsqueeze(1);
  staged.reset();
}

}  // namespace gradcache
