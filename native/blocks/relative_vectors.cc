#include "blocks/relative_vectors.h"

namespace gradcache {

namespace {

// int64 [2 * longest - 1]: the row of each distance. The logarithms are libtorch's in float32, as in the
// reference: the borders of the buckets depend on it.
at::Tensor rowsOfDistances(int64_t longest, int64_t span, int64_t farthest) {
  const at::Tensor distance = at::arange(1 - longest, longest, at::kLong);
  at::Tensor bucket = distance;
  if (farthest > 0) {
    const int64_t middle = span / 2;
    const at::Tensor near = distance.abs().lt(middle);
    const at::Tensor far = at::where(near, at::full({}, middle - 1, at::kLong), distance.abs());
    const double spread = static_cast<double>(farthest - 1) / static_cast<double>(middle);
    const at::Tensor logarithms =
        at::ceil(far.div(middle).log().div(at::full({}, spread, at::kFloat).log()).mul(middle - 1))
            .add(middle);
    bucket =
        at::where(far.le(middle), distance.to(at::kFloat), logarithms.mul(distance.sign())).to(at::kLong);
  }
  return bucket.add(span).clamp(0, 2 * span - 1);
}

}  // namespace

RelativeVectors::RelativeVectors(const Options& options, Builder& builder)
    : options_(options), table_(builder.table(options.name, 2 * options.span, options.width)) {
  if (!options.norm.empty())
    norm_.emplace(builder.parameters, options.norm, options.width, options.normEpsilon);
}

const at::Tensor& RelativeVectors::rows(const Pass& pass) const {
  return pass.once(this, [&] {
    const at::Tensor table = pass.weight(table_);
    return norm_ ? norm_->forward(table, {}, {}, {}, pass, /*save=*/false).y : table;
  });
}

void RelativeVectors::addGradient(const at::Tensor& drows, const Pass& pass) const {
  at::Tensor dtable = drows;
  if (norm_) {
    const kernels::Norm norm = norm_->forward(pass.weight(table_), {}, {}, {}, pass, /*save=*/true);
    dtable = norm_->backward(drows, norm, {}, {}, pass).sum;
  }
  if (const at::Tensor& gradient = pass.gradient(table_); gradient.defined()) gradient.add_(dtable);
}

at::Tensor RelativeVectors::rowOfDistance(const Pass& pass) const {
  if (!all_.defined())
    all_ = rowsOfDistances(options_.most, options_.span, options_.farthest).to(pass.tokens.ids.device());
  return all_.narrow(0, options_.most - pass.tokens.longest, 2 * pass.tokens.longest - 1);
}

}  // namespace gradcache
