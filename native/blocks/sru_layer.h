// A layer of SRU (Lei et al. 2018) or SRU++ (Lei 2021): projections of all tokens at once, then a recurrence
// in which every column is on its own.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "blocks/attentive_projection.h"
#include "blocks/sru_cell.h"
#include "model/block.h"
#include "model/builder.h"
#include "model/normalization.h"

namespace gradcache {

// Where a recurrent layer has a layer norm: on what its projections read, on its output, or nowhere.
enum class NormPlace { kNone, kBefore, kAfter };
// Throws INPUT unless the name is none, before or after.
NormPlace normPlaceNamed(std::string_view name);

class SruLayer final : public Block {
 public:
  struct Options {
    SruCell::Options cell;
    std::optional<AttentiveProjection::Options> attentive{};  // SRU++
    NormPlace norm = NormPlace::kNone;
    double normEpsilon = 1e-5;
  };
  // Parameters of the projection and of the cell, and `name`.norm.
  SruLayer(const std::string& name, const Options& options, Builder& builder);

  Stream forward(Stream x, const Pass& pass, Tape* tape) const override;
  at::Tensor backward(const at::Tensor& dy, Tape tape, const Pass& pass) const override;
  int64_t tapeBytes(const ChunkSize& chunk) const override;

 private:
  Options options_;
  std::unique_ptr<const SruProjection> projection_;
  SruCell cell_;
  std::optional<Normalization> norm_;
};

}  // namespace gradcache
