#include "losses/multi_vector.h"

#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <utility>

#include "core/error.h"
#include "losses/token_similarity.h"

namespace gradcache {

namespace {

// What a loss makes of the scores of some queries: its share of the loss, and dL/dscores.
struct Part {
  at::Tensor loss, gradient;
};
using LossOfTile = std::function<Part(const TokenTile&)>;

// The document of each query, among all.
std::vector<int64_t> targetsFrom(const Settings& settings, const TokenSimilarity& similarity,
                                 int64_t positives) {
  const int64_t queries = similarity.queries();
  std::vector<int64_t> targets;
  if (settings.has("targets")) {
    targets = settings.integers("targets");
    require(static_cast<int64_t>(targets.size()) == queries, "SHAPE", targets.size(), " targets for ",
            queries, " queries");
    for (const int64_t target : targets)
      require(target >= 0 && target < similarity.documents(), "SHAPE", "target ", target,
              " is not one of the ", similarity.documents(), " documents");
    return targets;
  }
  require(positives == queries, "SHAPE", queries, " queries but ", positives,
          " positive documents: give explicit targets, or as many documents as queries");
  targets.resize(static_cast<size_t>(queries));
  std::iota(targets.begin(), targets.end(), 0);
  return targets;
}

// Mean over the queries of -log softmax(scale * score) at the query's own document.
LossOfTile ranking(double scale, std::vector<int64_t> targets) {
  const auto count = static_cast<double>(targets.size());
  return [=, targets = at::tensor(at::ArrayRef<int64_t>(targets), at::kLong)](const TokenTile& tile) -> Part {
    const at::Tensor scaled = tile.scores.mul(scale);
    const at::Tensor target = targets.narrow(0, tile.begin, scaled.size(0)).to(scaled.device()).unsqueeze(1);
    const at::Tensor normalizer = at::logsumexp(scaled, {1}, true);
    const at::Tensor loss = normalizer.sub(scaled.gather(1, target)).sum().div_(count);
    const at::Tensor gradient = scaled.sub(normalizer).exp_().mul_(scale / count);
    return {loss,
            gradient.scatter_add_(1, target, at::full_like(target, -scale / count, gradient.options()))};
  };
}

// Kullback-Leibler divergence from the teacher's softmax to that of the scores, times the square of the
// scores' temperature: as sentence-transformers' MultiVectorDistillKLDivLoss.
LossOfTile distillKl(const at::Tensor& teacher, double temperature, double teacherTemperature) {
  const auto count = static_cast<double>(teacher.size(0));
  const at::Tensor logTargets = at::log_softmax(teacher.div(teacherTemperature), 1);
  return [=](const TokenTile& tile) -> Part {
    const at::Tensor logs = at::log_softmax(tile.scores.div(temperature), 1);
    const at::Tensor wanted = logTargets.narrow(0, tile.begin, logs.size(0)), share = wanted.exp();
    const double factor = temperature * temperature / count;
    return {share.mul(wanted.sub(logs)).sum().mul_(factor),
            logs.exp().sub_(share).mul_(factor / temperature)};
  };
}

// Mean square of (score of the first document - score of another) - margin.
LossOfTile marginMse(const at::Tensor& margins) {
  const auto count = static_cast<double>(margins.numel());
  return [=](const TokenTile& tile) -> Part {
    const at::Tensor& scores = tile.scores;
    const at::Tensor error = scores.narrow(1, 0, 1)
                                 .sub(scores.narrow(1, 1, scores.size(1) - 1))
                                 .sub_(margins.narrow(0, tile.begin, scores.size(0)));
    const at::Tensor slope = error.mul(2 / count);
    return {error.square().sum().div_(count), at::cat({slope.sum({1}, true), slope.neg()}, 1)};
  };
}

std::vector<TokenTexts> towersFrom(const Settings& settings, std::vector<at::Tensor> representations) {
  const std::vector<Settings>& given = settings.list("towers");
  require(given.size() == representations.size(), "SHAPE", given.size(), " towers with ",
          representations.size(), " representations");
  std::vector<TokenTexts> towers;
  for (size_t k = 0; k < given.size(); ++k) {
    TokenTexts texts{std::move(representations[k]), {}};
    require(texts.tokens.dim() == 2, "SHAPE", "representations of tower ", k, " have shape ",
            texts.tokens.sizes(), ", expected [tokens, dimension]");
    if (given[k].has("offsets")) {
      texts.offsets = given[k].integers("offsets");
    } else {
      texts.offsets.resize(static_cast<size_t>(texts.tokens.size(0)) + 1);
      std::iota(texts.offsets.begin(), texts.offsets.end(), 0);
    }
    given[k].requireAllRead();
    towers.push_back(std::move(texts));
  }
  return towers;
}

// The teacher's numbers [queries, columns] in float64, where the scores are.
at::Tensor taught(const at::Tensor& numbers, const TokenSimilarity& similarity, int64_t columns) {
  require(numbers.dim() == 2 && numbers.size(0) == similarity.queries() && numbers.size(1) == columns,
          "SHAPE", "the teacher's scores have shape ", numbers.sizes(), ", expected [", similarity.queries(),
          ", ", columns, "]");
  return numbers.to(similarity.device()).to(at::kDouble);
}

double positive(const Settings& settings, const char* name) {
  const double number = settings.number(name);
  require(std::isfinite(number) && number > 0, "INPUT", name, " must be positive and finite, it is ", number);
  return number;
}

}  // namespace

LossResult multiVectorLoss(std::vector<at::Tensor> representations, const Settings& settings,
                           const Share* share) {
  at::NoGradGuard withoutGraph;
  const std::string& name = settings.text("loss");
  const bool learnsFromTeacher = name != "ranking";
  at::Tensor teacher;
  if (learnsFromTeacher) {
    require(representations.size() > 2, "SHAPE", "the loss needs queries, documents and scores of a teacher");
    teacher = std::move(representations.back());
    representations.pop_back();
  }
  TokenSimilarity::Options options;
  options.interaction = interactionNamed(settings.text("similarity"));
  options.topK = settings.size("topK");
  options.own = learnsFromTeacher;
  options.byTower = name == "margin_mse";  // as in sentence-transformers, which scores a column at a time
  options.composite = settings.has("composite") && settings.truth("composite");
  const double weight = settings.number("weight");
  std::vector<TokenTexts> towers = towersFrom(settings, std::move(representations));
  const int64_t columns = static_cast<int64_t>(towers.size()) - 1;
  const int64_t positives = columns > 0 ? towers[1].size() : 0;
  TokenSimilarity similarity(std::move(towers), options);
  LossOfTile ofTile;
  if (name == "ranking") {
    ofTile = ranking(positive(settings, "scale"), targetsFrom(settings, similarity, positives));
  } else if (name == "distill_kl") {
    require(columns >= 2, "SHAPE", "distillation needs two documents for each query; there is ", columns);
    ofTile = distillKl(taught(teacher, similarity, columns), positive(settings, "temperature"),
                       positive(settings, "teacherTemperature"));
  } else {
    require(name == "margin_mse", "INPUT", "there is no loss '", name, "'");
    require(columns >= 2, "SHAPE", "margins need two documents for each query; there is ", columns);
    ofTile = marginMse(taught(teacher, similarity, columns - 1));
  }
  settings.requireAllRead();
  // A largest number passes over NaN, so the loss alone would not tell.
  if (!similarity.finite()) return {NAN, similarity.takeGradients(), {}};
  at::Tensor loss = at::zeros({}, at::TensorOptions().dtype(at::kDouble).device(similarity.device()));
  const Share::Part part =
      share == nullptr ? Share::Part{0, similarity.queries()} : share->of(0, similarity.queries());
  similarity.eachTile(part, weight, [&](const TokenTile& tile) {
    Part found = ofTile(tile);
    loss.add_(found.loss);
    return std::move(found.gradient);
  });
  return {loss.item<double>(), similarity.takeGradients(), {}};
}

}  // namespace gradcache
