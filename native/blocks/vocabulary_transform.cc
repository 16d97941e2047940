#include "blocks/vocabulary_transform.h"

#include <utility>

namespace gradcache {

namespace {

struct TransformTape {
  Stream input;
  at::Tensor up;       // before bias and activation
  kernels::Norm norm;  // without y

  static int64_t bytes(int64_t width, const ChunkSize& chunk) {
    // The dense layer's product, the activation, and mean and rstd of the norm.
    return chunk.tokens * (2 * width * chunk.element + 2 * chunk.wide);
  }
};

}  // namespace

VocabularyTransform::VocabularyTransform(int64_t in, const Settings& settings, Builder& builder)
    : width_(settings.size("width")),
      activation_(kernels::activationNamed(settings.text("activation"))),
      dense_(builder.parameters, {settings.text("dense")}, in, width_, settings.truth("denseBias")),
      norm_(builder.parameters, settings.text("norm"), width_,
            NormStyle{settings.number("normEpsilon"), settings.truth("normBias")}) {}

Stream VocabularyTransform::forward(Stream x, const Pass& pass, Tape* tape) const {
  at::Tensor up = dense_.product(x.rows, pass);
  kernels::Norm norm = norm_.forward(kernels::activation(up, dense_.bias(pass), activation_), {}, {}, {},
                                     pass, /*save=*/tape != nullptr);
  at::Tensor y = std::exchange(norm.y, {});
  if (tape != nullptr) *tape = TransformTape{x.kept(), std::move(up), std::move(norm)};
  return {std::move(y)};
}

at::Tensor VocabularyTransform::backward(const at::Tensor& dy, Tape kept, const Pass& pass) const {
  auto tape = std::any_cast<TransformTape>(std::move(kept));
  const kernels::NormGradients norm = norm_.backward(dy, tape.norm, {}, {}, pass);
  const kernels::ActivationGradients activation =
      kernels::activationBackward(norm.x, tape.up, dense_.bias(pass), activation_, dense_.biasGradient(pass));
  dense_.addWeightGradient(activation.x, tape.input.recalled(), pass);
  return dense_.inputGradient(activation.x, pass);
}

int64_t VocabularyTransform::tapeBytes(const ChunkSize& chunk) const {
  return TransformTape::bytes(width_, chunk);
}

}  // namespace gradcache
