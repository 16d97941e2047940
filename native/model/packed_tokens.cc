#include "model/packed_tokens.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "core/error.h"

namespace gradcache {

namespace {
// Number of int64 words for sequences + 1 int32 offsets.
int64_t offsetWords(int64_t sequences) { return (sequences + 2) / 2; }

// As RoBERTa numbers the positions of a sequence: see TokenRules.
void numberRealTokens(const int64_t* id, const int64_t* end, int64_t padding, int64_t* position) {
  for (int64_t next = padding + 1; id < end; ++id) *position++ = *id == padding ? padding : next++;
}
}  // namespace

TokenBatch::TokenBatch(std::vector<int32_t> ids, std::vector<int32_t> offsets, std::vector<int32_t> numbers,
                       const TokenRules& rules, std::vector<int32_t> types, std::vector<uint8_t> counts,
                       int64_t skipped, std::vector<int32_t> unattended)
    : ids_(std::move(ids)),
      offsets_(std::move(offsets)),
      types_(std::move(types)),
      counts_(std::move(counts)),
      skipped_(skipped),
      unattended_(std::move(unattended)),
      rules_(rules) {
  const auto count = static_cast<int64_t>(ids_.size());
  require(!offsets_.empty() && offsets_.front() == 0 && offsets_.back() == count &&
              std::is_sorted(offsets_.begin(), offsets_.end()),
          "SHAPE", "offsets do not cut the ", count, " token ids into sequences");
  require(numbers.empty() || static_cast<int64_t>(numbers.size()) == rows(), "SHAPE", numbers.size(),
          " numbers for ", rows(), " sequences");
  require(types_.empty() || types_.size() == ids_.size(), "SHAPE", types_.size(), " types for ", count,
          " token ids");
  if (std::all_of(unattended_.begin(), unattended_.end(), [](int32_t each) { return each == 0; }))
    unattended_.clear();
  require(unattended_.empty() || static_cast<int64_t>(unattended_.size()) == rows(), "SHAPE",
          unattended_.size(), " numbers of unattended tokens for ", rows(), " sequences");
  require(unattended_.empty() || rules.unattended, "INPUT",
          "this encoder has no representation for a token that no other attends to");
  const int64_t known = std::max<int64_t>(rules.types, 1);
  for (const int32_t type : types_) {
    require(type >= 0 && type < known, "INPUT", "token type ", type, " is not in the table of ", rules.types,
            " types");
  }
  const int64_t limit = rules.afterPadding ? rules.positions - rules.paddingToken - 1 : rules.positions;
  const int64_t last = std::min<int64_t>(rules.vocabulary - 1, std::numeric_limits<int32_t>::max());
  const auto isKnown = [last = static_cast<int32_t>(last)](int32_t id) { return id >= 0 && id <= last; };
  int32_t unknown = 0;  // whether there is any, without a branch: it vectorises
  for (const int32_t id : ids_) unknown |= static_cast<int32_t>(!isKnown(id));
  for (int32_t row = 0; row < rows(); ++row) {
    const int32_t number = numbers.empty() ? row : numbers[row];
    require(length(row) > 0, "INPUT", "sequence ", number, " of the batch has no token");
    require(length(row) <= limit, "INPUT", "sequence ", number, " has ", length(row),
            " tokens, the encoder has positions for ", limit);
    require(length(row) > skipped, "INPUT", "sequence ", number, " has ", length(row),
            " tokens, of which the first ", skipped,
            " are the prompt's and not pooled: nothing is left of the text. Allow longer texts");
    const int32_t left = unattended_.empty() ? 0 : unattended_[row];
    require(left >= 0 && left < length(row), "INPUT", "of the ", length(row), " tokens of sequence ", number,
            " the last ", left, " are not to be attended to; fewer than all are possible");
    if (unknown == 0) continue;
    for (int32_t t = offsets_[row]; t < offsets_[row + 1]; ++t) {
      require(isKnown(ids_[t]), "INPUT", "token id ", ids_[t], " of sequence ", number,
              " is outside the vocabulary of ", rules.vocabulary);
    }
  }
  if (counts_.empty()) return;
  require(static_cast<int64_t>(counts_.size()) == count, "SHAPE", counts_.size(), " marks for ", count,
          " token ids");
  countedOffsets_.push_back(0);
  for (int32_t row = 0; row < rows(); ++row) {
    const auto begin = counts_.begin() + offsets_[row], end = counts_.begin() + offsets_[row + 1];
    const auto kept = static_cast<int32_t>(end - begin - std::count(begin, end, uint8_t{0}));
    require(kept > 0, "INPUT", "no token of sequence ", numbers.empty() ? row : numbers[row],
            " of the batch counts: it would have no representation");
    countedOffsets_.push_back(countedOffsets_.back() + kept);
  }
}

void TokenBatch::requireRow(int32_t row) const {
  require(row >= 0 && row < rows(), "SHAPE", "row ", row, " of a chunk is not in its batch of ", rows(),
          " rows");
}

std::vector<int32_t> TokenBatch::countedPlaces(const std::vector<int32_t>& rows) const {
  std::vector<int32_t> places;
  for (const int32_t row : rows) {
    requireRow(row);
    const auto begin = static_cast<int32_t>(counted(row)), end = static_cast<int32_t>(counted(row + 1));
    for (int32_t place = begin; place < end; ++place) places.push_back(place);
  }
  return places;
}

PackedTokens TokenBatch::pack(const std::vector<int32_t>& rows, int64_t tokens, bool pinned) const {
  require(!rows.empty(), "INPUT", "a chunk needs at least one sequence");
  PackedTokens packed;
  packed.offsets.reserve(rows.size() + 1);
  packed.offsets.push_back(0);
  for (const int32_t row : rows) {
    requireRow(row);
    packed.longest = std::max(packed.longest, length(row));
    packed.offsets.push_back(packed.offsets.back() + length(row));
    packed.countsBySequence.push_back(static_cast<int32_t>(counted(row + 1) - counted(row)));
    packed.countedTokens += packed.countsBySequence.back();
  }
  const int64_t count = packed.offsets.back();
  require(count <= std::numeric_limits<int32_t>::max(), "INPUT", "a chunk of ", count,
          " tokens is too long: offsets are numbers of 32 bits");
  require(count == tokens, "SHAPE", "a chunk of ", count, " tokens says that it has ", tokens);

  const auto sequences = static_cast<int64_t>(rows.size());
  packed.paddingToken = rules_.paddingToken;
  packed.skipped = skipped_;
  for (const int32_t row : rows) {
    packed.anyTypes |=
        !types_.empty() && std::any_of(types_.begin() + offsets_[row], types_.begin() + offsets_[row + 1],
                                       [](int32_t type) { return type != 0; });
  }
  if (!unattended_.empty())
    for (int64_t k = 0; k < sequences; ++k)
      packed.keyEnds.push_back(packed.offsets[k + 1] - unattended_[rows[k]]);
  const int64_t endsBegin = (packed.anyTypes ? 3 : 2) * count + offsetWords(sequences),
                namesBegin = endsBegin + static_cast<int64_t>(packed.keyEnds.size());
  packed.staged = at::empty({namesBegin + packed.namedTokens()},
                            at::TensorOptions().dtype(at::kLong).pinned_memory(pinned));
  auto* ids = packed.staged.mutable_data_ptr<int64_t>();
  int64_t* positions = ids + count;
  std::copy(packed.offsets.begin(), packed.offsets.end(), reinterpret_cast<int32_t*>(positions + count));
  std::copy(packed.keyEnds.begin(), packed.keyEnds.end(), ids + endsBegin);
  if (packed.namedTokens() > 0) {
    int64_t *name = ids + namesBegin, token = 0;
    for (const int32_t row : rows)
      for (int32_t t = offsets_[row]; t < offsets_[row + 1]; ++t, ++token)
        if (counts_[t] != 0) *name++ = token;
  }
  // No token has the number -1.
  const auto padding =
      std::in_range<int32_t>(rules_.paddingToken) ? static_cast<int32_t>(rules_.paddingToken) : -1;
  int32_t anyPadding = 0;  // without a branch, as above
  int64_t* next = ids;
  for (const int32_t row : rows) {
    const auto begin = ids_.begin() + offsets_[row], end = ids_.begin() + offsets_[row + 1];
    next = std::copy(begin, end, next);
    for (auto id = begin; id < end; ++id) anyPadding |= static_cast<int32_t>(*id == padding);
  }
  packed.anyPadding = anyPadding != 0;
  if (packed.anyTypes) {
    int64_t* type = positions + count + offsetWords(sequences);
    for (const int32_t row : rows)
      type = std::copy(types_.begin() + offsets_[row], types_.begin() + offsets_[row + 1], type);
  }
  for (int64_t k = 0; k < sequences; ++k) {
    const int64_t begin = packed.offsets[k], end = packed.offsets[k + 1];
    if (packed.anyPadding && rules_.afterPadding)
      numberRealTokens(ids + begin, ids + end, rules_.paddingToken, positions + begin);
    else
      std::iota(positions + begin, positions + end, rules_.afterPadding ? rules_.paddingToken + 1 : 0);
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
  if (anyTypes) types = all.narrow(0, 2 * count + offsetWords(n), count);
  if (!keyEnds.empty()) deviceKeyEnds = all.narrow(0, all.size(0) - namedTokens() - n, n);
  if (namedTokens() > 0) counted = all.narrow(0, all.size(0) - namedTokens(), namedTokens());
  staged.reset();
}

}  // namespace gradcache
