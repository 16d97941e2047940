#include "blocks/sru_layer.h"

#include <utility>

namespace gradcache {

namespace {

struct LayerTape {
  Stream input;
  kernels::Norm norm;  // without y; empty without a norm
  Tape projection;
  at::Tensor u;
  kernels::Recurrence cells;  // without h
};

std::unique_ptr<const SruProjection> projectionOf(const std::string& name, const SruLayer::Options& options,
                                                  Builder& builder) {
  const int64_t in = options.cell.in, columns = options.cell.projections() * options.cell.width;
  if (!options.attentive) return std::make_unique<const MatrixProjection>(name, in, columns, builder);
  return std::make_unique<const AttentiveProjection>(name, in, columns, *options.attentive, builder);
}

}  // namespace

NormPlace normPlaceNamed(std::string_view name) {
  if (name == "none") return NormPlace::kNone;
  if (name == "before") return NormPlace::kBefore;
  if (name == "after") return NormPlace::kAfter;
  fail("INPUT", "the place '", name, "' of a norm is unknown; use none, before or after");
}

SruLayer::SruLayer(const std::string& name, const Options& options, Builder& builder)
    : options_(options),
      projection_(projectionOf(name, options, builder)),
      cell_(name, options.cell, builder) {
  if (options.norm == NormPlace::kNone) return;
  norm_.emplace(builder.parameters, name + ".norm",
                options.norm == NormPlace::kBefore ? options.cell.in : options.cell.width,
                options.normEpsilon);
}

Stream SruLayer::forward(Stream x, const Pass& pass, Tape* tape) const {
  const bool save = tape != nullptr;
  LayerTape kept{save ? x.kept() : Stream(), {}, {}, {}, {}};
  at::Tensor in = x.rows;
  if (options_.norm == NormPlace::kBefore) {
    kept.norm = norm_->forward(in, {}, {}, {}, pass, save);
    in = std::exchange(kept.norm.y, {});
  }
  kept.u = projection_->forward(in, pass, save ? &kept.projection : nullptr);
  in.reset();
  kept.cells = cell_.forward(kept.u, x.rows, pass, save);
  Stream y{std::exchange(kept.cells.h, {})};
  if (options_.norm == NormPlace::kAfter) {
    kept.norm = norm_->forward(y.rows, {}, {}, {}, pass, save);
    at::Tensor normed = std::exchange(kept.norm.y, {});
    y = save ? norm_->stream(std::move(normed), kept.norm, pass) : Stream{std::move(normed)};
  }
  if (save) *tape = std::move(kept);
  return y;
}

at::Tensor SruLayer::backward(const at::Tensor& dy, Tape kept, const Pass& pass) const {
  auto tape = std::any_cast<LayerTape>(std::move(kept));
  const bool before = options_.norm == NormPlace::kBefore, after = options_.norm == NormPlace::kAfter;
  const at::Tensor dh = after ? norm_->backward(dy, std::exchange(tape.norm, {}), {}, {}, pass).sum : dy;
  const at::Tensor x = tape.input.recalled();
  kernels::RecurrenceGradients cell = cell_.backward(dh, std::move(tape.u), x, tape.cells, pass);
  tape.cells = {};
  if (!before)
    return projection_->backward(cell.u, x, std::move(cell.skip), std::move(tape.projection), pass);
  const at::Tensor normed = norm_->stream({}, tape.norm, pass).recalled();
  const at::Tensor dnormed = projection_->backward(cell.u, normed, {}, std::move(tape.projection), pass);
  at::Tensor dx = norm_->backward(dnormed, tape.norm, {}, {}, pass).sum;
  return cell.skip.defined() ? dx.add_(cell.skip) : dx;
}

int64_t SruLayer::tapeBytes(const ChunkSize& chunk) const {
  int64_t bytes = projection_->tapeBytes(chunk) + cell_.tapeBytes(chunk);
  // A norm keeps what it reads, with two statistics a token; what it returned is computed again.
  if (norm_) bytes += chunk.tokens * 2 * chunk.wide;
  if (options_.norm == NormPlace::kBefore) bytes += chunk.tokens * options_.cell.in * chunk.element;
  return bytes;
}

}  // namespace gradcache
