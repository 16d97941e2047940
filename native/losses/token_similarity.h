// Late interaction (Khattab & Zaharia 2020): scores of queries with documents whose texts have a
// representation per token, in tiles of queries. No tensor of all tokens with all tokens exists beyond a
// tile. Gradients go to the tokens that the maxima are from, without an autograd graph.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <string_view>
#include <vector>

#include "losses/share.h"

namespace gradcache {

// The texts of one tower: text k has the rows offsets[k] to offsets[k + 1] - 1 of `tokens`.
struct TokenTexts {
  at::Tensor tokens;             // [T, d], float32 or float64
  std::vector<int64_t> offsets;  // [texts + 1]

  int64_t size() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t length(int64_t text) const { return offsets[text + 1] - offsets[text]; }
};

// How the similarities of a query's tokens with their best tokens of a document become a score.
enum class Interaction {
  kMaxSim,      // their sum
  kMeanMaxSim,  // their mean over the query's tokens
  kXtr,         // XTR (Lee et al. 2023): only the `topK` tokens of all documents that are most similar to a
         // query's token count; the sum over those query tokens that found the document, by their number
};
// Throws INPUT unless the name is maxsim, meanmaxsim or xtr.
Interaction interactionNamed(std::string_view name);

// The scores of some queries.
struct TokenTile {
  int64_t begin = 0;  // number of the first query
  at::Tensor scores;  // float64 [queries, documents]
};

class TokenSimilarity {
 public:
  struct Options {
    Interaction interaction = Interaction::kMaxSim;
    int64_t topK = 256;
    // True: each query has scores with its own document of every tower alone, in the towers' order.
    bool own = false;
    // True: the tokens that XTR finds are those of one tower alone, each tower for itself.
    bool byTower = false;
    // True: libtorch's operators on the CPU too, as on a GPU.
    bool composite = false;
  };

  // `towers` are the queries, then one or more towers of documents. Documents are numbered through all
  // towers. Throws SHAPE, DTYPE, DEVICE or INPUT.
  TokenSimilarity(std::vector<TokenTexts> towers, const Options& options);

  int64_t queries() const { return towers_[0].size(); }
  // Columns of a tile.
  int64_t documents() const { return options_.own ? towerCount() : firstColumn_.back(); }
  // Whether every representation is.
  bool finite() const;
  at::Device device() const { return towers_[0].tokens.device(); }

  // Calls `visit` with every tile of some queries once, in order. It returns dL/dscores [queries, documents]
  // in float64, which becomes gradients of the tokens, times `weight`.
  void eachTile(const Share::Part& queries, double weight,
                const std::function<at::Tensor(const TokenTile&)>& visit);
  // After all tiles; like the towers' tokens.
  std::vector<at::Tensor> takeGradients() { return std::move(gradients_); }

  // The score of a document without a token, as sentence-transformers has it.
  static constexpr double kEmpty = -1e9;

 private:
  struct Range {
    int64_t begin, end;
    int64_t size() const { return end - begin; }
  };
  // Some queries, and the documents of each tower that they are compared with.
  struct Work {
    Range queries, tokens;
    std::vector<Range> documents{};      // one for each tower of documents
    std::vector<int64_t> firstColumn{};  // [towers of documents + 1]: in `scores`
    std::vector<int64_t> rowOf{};        // [tokens of the queries]: the query's number among them
    at::Tensor scores{};                 // float64 [queries, columns]
    at::Tensor best{};                   // int32 [tokens, columns]: the document's token in its tower, or -1
    at::Tensor divisor{};                // float64 [queries, columns or 1]: undefined where it is 1
  };

  int64_t towerCount() const { return static_cast<int64_t>(towers_.size()) - 1; }
  const TokenTexts& documentsOf(int64_t tower) const { return towers_[tower + 1]; }
  int64_t lastQuery(int64_t first, int64_t end) const;
  Work begin(Range queries) const;
  void compare(Work& work) const;
  void compareTokens(Work& work, int64_t tower, Range documents, Range tokens) const;
  void retrieve(Work& work) const;
  void retrieveAmong(Work& work, Range towers, const at::Tensor& found) const;
  void markEmpty(Work& work) const;
  at::Tensor ownColumns(const Work& work) const;
  void addGradient(const Work& work, const at::Tensor& gradient);

  const Options options_;
  const bool onCpu_;
  std::vector<TokenTexts> towers_;
  std::vector<int64_t> firstColumn_;  // of each tower of documents, then their number
  std::vector<at::Tensor> gradients_;
};

}  // namespace gradcache
