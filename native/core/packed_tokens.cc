#include "core/packed_tokens.h"

#include <algorithm>

#include "core/error.h"

namespace gradcache {

PackedTokens packTokens(const int32_t* ids, int64_t idCount, const int32_t* lengths, int64_t sequences,
                        int64_t vocabulary, const PositionRule& rule, at::Device device) {
  require(sequences > 0, "INPUT", "a chunk needs at least one sequence");
  PackedTokens packed;
  packed.offsets.reserve(static_cast<size_t>(sequences) + 1);
  packed.offsets.push_back(0);
  const int64_t limit = rule.afterPadding ? rule.count - rule.paddingToken - 1 : rule.count;
  for (int64_t s = 0; s < sequences; ++s) {
    require(lengths[s] > 0, "INPUT", "sequence ", s, " of the chunk has no token");
    require(lengths[s] <= limit, "INPUT", "sequence ", s, " has ", lengths[s],
            " tokens, the encoder has positions for ", limit);
    packed.longest = std::max<int64_t>(packed.longest, lengths[s]);
    packed.offsets.push_back(packed.offsets.back() + lengths[s]);
  }
  require(packed.offsets.back() == idCount, "SHAPE", "the sequences have ", packed.offsets.back(),
          " tokens in all, ", idCount, " ids were given");

  at::Tensor hostIds = at::empty({idCount}, at::kLong);
  at::Tensor hostPositions = at::empty({idCount}, at::kLong);
  at::Tensor hostLengths = at::empty({sequences}, at::kLong);
  auto* idData = hostIds.mutable_data_ptr<int64_t>();
  auto* positionData = hostPositions.mutable_data_ptr<int64_t>();
  bool anyPadding = false;
  for (int64_t s = 0; s < sequences; ++s) {
    hostLengths.mutable_data_ptr<int64_t>()[s] = lengths[s];
    int64_t next = rule.afterPadding ? rule.paddingToken + 1 : 0;
    for (int64_t t = packed.offsets[s]; t < packed.offsets[s + 1]; ++t) {
      require(ids[t] >= 0 && ids[t] < vocabulary, "INPUT", "token id ", ids[t], " of sequence ", s,
              " is outside the vocabulary of ", vocabulary);
      idData[t] = ids[t];
      const bool padding = ids[t] == rule.paddingToken;
      anyPadding |= padding;
      positionData[t] = padding && rule.afterPadding ? rule.paddingToken : next++;
    }
  }
  if (anyPadding) packed.padding = hostIds.eq(rule.paddingToken).unsqueeze(1).to(device);
  packed.ids = hostIds.to(device);
  packed.positions = hostPositions.to(device);
  packed.lengths = hostLengths.to(device);
  return packed;
}

}  // namespace gradcache
