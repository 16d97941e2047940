#include "encoders/layer.h"

#include <utility>

#include "kernels/rows/rows.h"

namespace gradcache {

void addProduct(const at::Tensor& gradient, const at::Tensor& a, const at::Tensor& b) {
  if (gradient.scalar_type() == a.scalar_type()) {
    gradient.addmm_(a.t(), b);
  } else if (gradient.is_cuda()) {
    at::Tensor target = gradient;
    at::addmm_out(target, gradient, a.t(), b,
                  gradient.scalar_type());  // bfloat16 products, added up in float32
  } else {
    gradient.add_(at::mm(a.t(), b));
  }
}

namespace {

kernels::Norm withoutOutput(kernels::Norm norm) {
  norm.y.reset();
  return norm;
}

}  // namespace

at::Tensor layerForward(const at::Tensor& x, const LayerWeights& weights, const LayerOptions& options,
                        const kernels::Sequences& sequences, LayerTape* tape) {
  const bool save = tape != nullptr;
  at::Tensor qkv = at::addmm(weights.qkv.bias, x, weights.qkv.weight.t());
  kernels::Attention attention =
      kernels::attention(qkv, sequences, options.heads, options.distanceBias, options.attentionKey);
  at::Tensor projected = at::mm(attention.out, weights.attentionOutput.weight.t());
  kernels::Norm middle = kernels::norm(projected, weights.attentionOutput.bias, x,
                                       weights.attentionNorm.weights, options.attentionOutputKey, save);
  if (!save) {
    qkv.reset();
    attention = {};
  }
  at::Tensor up = at::mm(middle.y, weights.up.weight.t());
  at::Tensor down =
      at::mm(kernels::activation(up, weights.up.bias, options.activation), weights.down.weight.t());
  kernels::Norm output =
      kernels::norm(down, weights.down.bias, middle.y, weights.outputNorm.weights, options.outputKey, save);
  at::Tensor y = output.y;
  if (save)
    *tape = {x,
             {},
             {},
             std::move(qkv),
             std::move(attention),
             withoutOutput(std::move(middle)),
             withoutOutput(std::move(output)),
             std::move(up)};
  return y;
}

at::Tensor layerBackward(const at::Tensor& dy, LayerTape tape, const LayerWeights& weights,
                         const LayerOptions& options, const kernels::Sequences& sequences) {
  kernels::NormGradients output = kernels::normBackward(
      dy, tape.outputNorm, weights.outputNorm.weights, options.outputKey, weights.outputNorm.scaleGradient,
      weights.outputNorm.shiftGradient, weights.down.biasGradient);
  tape.outputNorm = {};
  output.y.reset();
  kernels::ActivationGradients activation =
      kernels::activationBackward(at::mm(output.x, weights.down.weight), tape.up, weights.up.bias,
                                  options.activation, weights.up.biasGradient);
  tape.up.reset();
  addProduct(weights.down.weightGradient, output.x, activation.y);
  output.x.reset();
  activation.y.reset();

  // The feed-forward's input gradient and the residual's meet here.
  at::Tensor dmiddle = output.sum.addmm_(activation.x, weights.up.weight);
  kernels::NormGradients middle =
      kernels::normBackward(dmiddle, tape.attentionNorm, weights.attentionNorm.weights,
                            options.attentionOutputKey, weights.attentionNorm.scaleGradient,
                            weights.attentionNorm.shiftGradient, weights.attentionOutput.biasGradient);
  tape.attentionNorm = {};
  addProduct(weights.up.weightGradient, activation.x, middle.y);
  activation = {};
  middle.y.reset();

  at::Tensor dattention = at::mm(middle.x, weights.attentionOutput.weight);
  addProduct(weights.attentionOutput.weightGradient, middle.x, tape.attention.out);
  middle.x.reset();
  at::Tensor dqkv =
      kernels::attentionBackward(dattention, tape.qkv, tape.attention, sequences, options.heads,
                                 options.distanceBias, options.attentionKey, options.distanceBiasGradient);
  if (!tape.input.defined())
    tape.input = kernels::norm(tape.inputNorm.sum, {}, {}, tape.inputWeights, {}, false).y;
  addProduct(weights.qkv.weightGradient, dqkv, tape.input);
  kernels::addColumnSum(weights.qkv.biasGradient, dqkv);
  return middle.sum.addmm_(dqkv, weights.qkv.weight);
}

}  // namespace gradcache
