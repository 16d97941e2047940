#include "losses/token_similarity.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "losses/token_maxima.h"

namespace gradcache {

namespace {

// Tokens of queries in one tile, and bytes of similarities at once. Large enough for full-speed products; on
// a CPU the similarities stay within a cache.
struct Limits {
  int64_t tokens, bytes;
};
Limits limitsOf(bool cpu) { return cpu ? Limits{512, int64_t{2} << 20} : Limits{4096, int64_t{256} << 20}; }

// Queries in a tile where each has its own documents alone: the products of the others are wasted.
constexpr int64_t kOwnQueries = 8;

void check(const std::vector<TokenTexts>& towers) {
  require(towers.size() >= 2, "SHAPE", "the loss needs at least two towers, queries and documents; got ",
          towers.size());
  const at::Tensor& first = towers[0].tokens;
  for (size_t k = 0; k < towers.size(); ++k) {
    const auto& [tokens, offsets] = towers[k];
    require(tokens.dim() == 2, "SHAPE", "representations of tower ", k, " have shape ", tokens.sizes(),
            ", expected [tokens, dimension]");
    require(offsets.size() >= 2, "SHAPE", "tower ", k, " has no row");
    require(offsets.front() == 0 && offsets.back() == tokens.size(0) &&
                std::is_sorted(offsets.begin(), offsets.end()),
            "SHAPE", "offsets do not cut the ", tokens.size(0), " representations of tower ", k,
            " into rows");
    require(tokens.size(1) == first.size(1), "SHAPE", "tower ", k, " has dimension ", tokens.size(1),
            ", the queries have ", first.size(1));
    require(tokens.scalar_type() == first.scalar_type(), "DTYPE", "tower ", k, " has type ",
            tokens.scalar_type(), ", the queries have ", first.scalar_type());
    require(tokens.device() == first.device(), "DEVICE", "tower ", k, " is on ", tokens.device(),
            ", the queries are on ", first.device());
  }
  require(first.scalar_type() == at::kFloat || first.scalar_type() == at::kDouble, "DTYPE",
          "the loss takes float32 or float64 representations, got ", first.scalar_type());
}

at::Tensor onDevice(const std::vector<int64_t>& numbers, const at::Tensor& like) {
  return at::tensor(at::ArrayRef<int64_t>(numbers), at::kLong).to(like.device());
}

}  // namespace

Interaction interactionNamed(std::string_view name) {
  if (name == "maxsim") return Interaction::kMaxSim;
  if (name == "meanmaxsim") return Interaction::kMeanMaxSim;
  require(name == "xtr", "INPUT", "similarity '", name, "' is unknown; use maxsim, meanmaxsim or xtr");
  return Interaction::kXtr;
}

TokenSimilarity::TokenSimilarity(std::vector<TokenTexts> towers, const Options& options)
    : options_(options),
      onCpu_(!towers.empty() && towers[0].tokens.is_cpu() && !options.composite),
      towers_(std::move(towers)) {
  check(towers_);
  firstColumn_.push_back(0);
  for (int64_t k = 0; k < towerCount(); ++k) {
    const TokenTexts& documents = documentsOf(k);
    require(!options_.own || documents.size() == queries(), "SHAPE", "tower ", k + 1, " has ",
            documents.size(), " rows, but there are ", queries(),
            " queries, each with a document of its own");
    firstColumn_.push_back(firstColumn_.back() + documents.size());
  }
  for (TokenTexts& tower : towers_) {
    tower.tokens = tower.tokens.contiguous();
    gradients_.push_back(at::zeros_like(tower.tokens));
  }
}

bool TokenSimilarity::finite() const {
  return std::all_of(towers_.begin(), towers_.end(), [](const TokenTexts& tower) {
    return std::isfinite(tower.tokens.sum(at::kDouble).item<double>());
  });
}

// The end of the tile that begins with this query, at most `end`.
int64_t TokenSimilarity::lastQuery(int64_t first, int64_t end) const {
  const TokenTexts& texts = towers_[0];
  const bool near = options_.own && options_.interaction != Interaction::kXtr;
  const int64_t most = near ? kOwnQueries : queries();
  // `best` has a number for each token and document.
  const int64_t columns = near ? 1 : firstColumn_.back();
  const auto [tokens, bytes] = limitsOf(onCpu_);
  const int64_t allowed = std::min(tokens, 16 * bytes / (4 * columns));
  int64_t last = first + 1;
  while (last < end && last - first < most && texts.offsets[last + 1] - texts.offsets[first] <= allowed)
    ++last;
  return last;
}

void TokenSimilarity::eachTile(const Share::Part& queries, double weight,
                               const std::function<at::Tensor(const TokenTile&)>& visit) {
  const int64_t end = queries.begin + queries.count;
  for (int64_t first = queries.begin; first < end;) {
    Work work = begin({first, lastQuery(first, end)});
    if (options_.interaction == Interaction::kXtr)
      retrieve(work);
    else
      compare(work);
    if (work.divisor.defined()) work.scores.div_(work.divisor);
    markEmpty(work);
    if (options_.own) {
      const at::Tensor columns = ownColumns(work);
      const at::Tensor part = visit({first, work.scores.gather(1, columns)});
      addGradient(work, at::zeros_like(work.scores).scatter_(1, columns, part.mul(weight)));
    } else {
      addGradient(work, visit({first, work.scores}).mul(weight));
    }
    first = work.queries.end;
  }
}

TokenSimilarity::Work TokenSimilarity::begin(Range range) const {
  const TokenTexts& texts = towers_[0];
  Work work{.queries = range, .tokens = {texts.offsets[range.begin], texts.offsets[range.end]}};
  const bool near = options_.own && options_.interaction != Interaction::kXtr;
  work.firstColumn.push_back(0);
  for (int64_t k = 0; k < towerCount(); ++k) {
    work.documents.push_back(near ? range : Range{0, documentsOf(k).size()});
    work.firstColumn.push_back(work.firstColumn.back() + work.documents.back().size());
  }
  std::vector<double> lengths;
  for (int64_t query = range.begin; query < range.end; ++query) {
    work.rowOf.insert(work.rowOf.end(), texts.length(query), query - range.begin);
    lengths.push_back(static_cast<double>(std::max<int64_t>(1, texts.length(query))));
  }
  const at::Tensor& like = texts.tokens;
  work.scores = at::zeros({range.size(), work.firstColumn.back()}, like.options().dtype(at::kDouble));
  work.best = at::full({work.tokens.size(), work.firstColumn.back()}, -1, like.options().dtype(at::kInt));
  if (options_.interaction == Interaction::kMeanMaxSim)
    work.divisor = at::tensor(at::ArrayRef<double>(lengths), at::kDouble).to(like.device()).unsqueeze(1);
  return work;
}

// MaxSim: block by block of documents, so that the similarities of their tokens stay within the limit.
void TokenSimilarity::compare(Work& work) const {
  const auto [tokens, bytes] = limitsOf(onCpu_);
  const auto element = static_cast<int64_t>(towers_[0].tokens.element_size());
  for (int64_t k = 0; k < towerCount(); ++k) {
    const TokenTexts& texts = documentsOf(k);
    const Range all = work.documents[k];
    const int64_t rows = std::min(tokens, std::max<int64_t>(1, work.tokens.size()));
    for (int64_t first = all.begin; first < all.end;) {
      int64_t last = first + 1, longest = texts.length(first);
      // On a GPU every document takes up as much as the longest.
      const auto taken = [&](int64_t document) {
        longest = std::max(longest, texts.length(document));
        return onCpu_ ? texts.offsets[document + 1] - texts.offsets[first] : (document + 1 - first) * longest;
      };
      while (last < all.end && taken(last) * rows * element <= bytes) ++last;
      // One pair of long texts alone may be beyond the limit: its query in pieces.
      const int64_t width = std::max<int64_t>(1, texts.offsets[last] - texts.offsets[first]);
      const int64_t piece = std::clamp<int64_t>(bytes / (width * element), 1, tokens);
      for (int64_t from = work.tokens.begin; from < work.tokens.end; from += piece)
        compareTokens(work, k, {first, last}, {from, std::min(from + piece, work.tokens.end)});
      first = last;
    }
  }
}

void TokenSimilarity::compareTokens(Work& work, int64_t tower, Range documents, Range tokens) const {
  const TokenTexts& texts = documentsOf(tower);
  const int64_t begin = texts.offsets[documents.begin], count = texts.offsets[documents.end] - begin;
  if (count == 0) return;
  const at::Tensor similarities = at::mm(towers_[0].tokens.narrow(0, tokens.begin, tokens.size()),
                                         texts.tokens.narrow(0, begin, count).t());
  const int64_t from = tokens.begin - work.tokens.begin;
  const int64_t column = work.firstColumn[tower] + documents.begin - work.documents[tower].begin;
  const Maxima maxima{.rowOf = work.rowOf.data() + from,
                      .scores = work.scores.narrow(1, column, documents.size()),
                      .best = work.best.narrow(0, from, tokens.size()).narrow(1, column, documents.size())};
  const TextRange range{texts.offsets.data() + documents.begin, documents.size()};
  if (onCpu_)
    addMaxima(similarities, range, maxima);
  else
    addMaximaComposite(similarities, range, maxima);
}

void TokenSimilarity::retrieve(Work& work) const {
  const at::Tensor found = at::zeros_like(work.scores);
  const int64_t together = options_.byTower ? 1 : towerCount();
  for (int64_t first = 0; first < towerCount(); first += together)
    retrieveAmong(work, {first, first + together}, found);
  work.divisor = found.clamp_min(1);
}

// XTR: the tokens of all documents compete, so a query's token is compared with all of them at once.
void TokenSimilarity::retrieveAmong(Work& work, Range towers, const at::Tensor& found) const {
  const at::Tensor& queries = towers_[0].tokens;
  const int64_t firstColumn = firstColumn_[towers.begin], columns = firstColumn_[towers.end] - firstColumn;
  std::vector<int64_t> columnOf, tokenOf;
  for (int64_t k = towers.begin; k < towers.end; ++k) {
    const TokenTexts& texts = documentsOf(k);
    for (int64_t document = 0; document < texts.size(); ++document)
      columnOf.insert(columnOf.end(), texts.length(document), firstColumn_[k] - firstColumn + document);
    for (int64_t token = 0; token < texts.offsets.back(); ++token) tokenOf.push_back(token);
  }
  const auto all = static_cast<int64_t>(columnOf.size());
  if (all == 0) return;
  const at::Tensor column = onDevice(columnOf, queries), token = onDevice(tokenOf, queries);
  const int64_t rowBytes = all * static_cast<int64_t>(queries.element_size());
  const int64_t piece = std::max<int64_t>(1, 16 * limitsOf(onCpu_).bytes / rowBytes);
  for (int64_t from = work.tokens.begin; from < work.tokens.end; from += piece) {
    const int64_t count = std::min(piece, work.tokens.end - from);
    at::Tensor similarities = at::empty({count, all}, queries.options());
    for (int64_t k = towers.begin, begin = 0; k < towers.end; begin += documentsOf(k).offsets.back(), ++k) {
      at::Tensor part = similarities.narrow(1, begin, documentsOf(k).offsets.back());
      at::mm_out(part, queries.narrow(0, from, count), documentsOf(k).tokens.t());
    }
    const auto [values, places] = at::topk(similarities, std::min(options_.topK, all), 1);
    const at::Tensor documents = column.index_select(0, places.view({-1})).view(places.sizes());
    const at::Tensor largest = at::full({count, columns}, -INFINITY, queries.options())
                                   .scatter_reduce_(1, documents, values, "amax");
    // The first token that has the largest similarity.
    const at::Tensor candidates =
        at::where(values.eq(largest.gather(1, documents)), places, at::full_like(places, all));
    const at::Tensor first =
        at::full({count, columns}, all, places.options()).scatter_reduce_(1, documents, candidates, "amin");
    const at::Tensor missed = first.eq(all);
    const int64_t* rowOf = work.rowOf.data() + (from - work.tokens.begin);
    addByRow(work.scores.narrow(1, firstColumn, columns), rowOf,
             largest.masked_fill(missed, 0).to(at::kDouble));
    addByRow(found.narrow(1, firstColumn, columns), rowOf, missed.logical_not().to(at::kDouble));
    const at::Tensor tokens = token.index_select(0, first.clamp_max(all - 1).view({-1})).view_as(first);
    work.best.narrow(0, from - work.tokens.begin, count)
        .narrow(1, firstColumn, columns)
        .copy_(tokens.masked_fill(missed, -1));
  }
}

void TokenSimilarity::markEmpty(Work& work) const {
  for (int64_t k = 0; k < towerCount(); ++k) {
    const Range range = work.documents[k];
    for (int64_t document = range.begin; document < range.end; ++document)
      if (documentsOf(k).length(document) == 0)
        work.scores.select(1, work.firstColumn[k] + document - range.begin).fill_(kEmpty);
  }
}

// Of each query its own documents, int64 [queries, towers of documents].
at::Tensor TokenSimilarity::ownColumns(const Work& work) const {
  std::vector<int64_t> columns;
  for (int64_t query = work.queries.begin; query < work.queries.end; ++query)
    for (int64_t k = 0; k < towerCount(); ++k)
      columns.push_back(work.firstColumn[k] + query - work.documents[k].begin);
  return onDevice(columns, work.scores).view({work.queries.size(), towerCount()});
}

void TokenSimilarity::addGradient(const Work& work, const at::Tensor& gradient) {
  const at::Tensor divided = work.divisor.defined() ? gradient.div(work.divisor) : gradient;
  const at::Tensor shares = divided.to(towers_[0].tokens.scalar_type()).contiguous();
  const at::Tensor queries = towers_[0].tokens.narrow(0, work.tokens.begin, work.tokens.size());
  const at::Tensor ofQueries = gradients_[0].narrow(0, work.tokens.begin, work.tokens.size());
  for (int64_t k = 0; k < towerCount(); ++k) {
    const TokenTexts& texts = documentsOf(k);
    const Range range = work.documents[k];
    const int64_t begin = texts.offsets[range.begin], count = texts.offsets[range.end] - begin;
    const Shares part{.rowOf = work.rowOf.data(),
                      .shares = shares.narrow(1, work.firstColumn[k], range.size()),
                      .best = work.best.narrow(1, work.firstColumn[k], range.size()),
                      .firstToken = begin};
    const at::Tensor documents = texts.tokens.narrow(0, begin, count);
    const at::Tensor ofDocuments = gradients_[k + 1].narrow(0, begin, count);
    if (onCpu_)
      addThroughMaxima(part, queries, documents, ofQueries, ofDocuments);
    else
      addThroughMaximaComposite(part, queries, documents, ofQueries, ofDocuments, limitsOf(false).bytes);
  }
}

}  // namespace gradcache
