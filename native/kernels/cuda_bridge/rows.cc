#include "kernels/cuda_bridge/cuda.h"
#include "kernels/cuda_bridge/library.h"

namespace gradcache::kernels::cuda {

namespace {

constexpr int64_t kWidestNorm = 2048;

bool isStored(at::ScalarType type) { return type == at::kFloat || type == at::kBFloat16; }

GradcacheType typeOf(at::ScalarType type) {
  return type == at::kBFloat16 ? GRADCACHE_BFLOAT16 : GRADCACHE_FLOAT32;
}

GradcacheRows describe(const at::Tensor& rows) {
  return {typeOf(rows.scalar_type()), rows.size(0), rows.size(1), currentStream(rows.device())};
}

GradcacheActivation kindOf(Activation kind) {
  switch (kind) {
    case Activation::kGelu:
      return GRADCACHE_GELU;
    case Activation::kGeluTanh:
      return GRADCACHE_GELU_TANH;
    case Activation::kRelu:
      return GRADCACHE_RELU;
  }
  return GRADCACHE_GELU;
}

at::Tensor scratch(size_t bytes, const at::Tensor& like) {
  return at::empty({static_cast<int64_t>(bytes)}, like.options().dtype(at::kByte));
}

const void* input(const at::Tensor& tensor) { return tensor.defined() ? tensor.const_data_ptr() : nullptr; }
void* output(const at::Tensor& tensor) { return tensor.defined() ? tensor.mutable_data_ptr() : nullptr; }
float* floats(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data_ptr<float>() : nullptr;
}

Norm emptyNorm(int64_t tokens, int64_t width, const at::TensorOptions& options, bool save) {
  Norm result;
  result.y = at::empty({tokens, width}, options);
  if (!save) return result;
  result.sum = at::empty({tokens, width}, options);
  result.mean = at::empty({tokens}, options.dtype(at::kFloat));
  result.rstd = at::empty({tokens}, options.dtype(at::kFloat));
  return result;
}

}  // namespace

bool takesRows(const at::Tensor& tensor) {
  return tensor.is_cuda() && libraryIsOpen() && tensor.size(-1) % 8 == 0 && isStored(tensor.scalar_type());
}

bool takesNorms(const at::Tensor& tensor) { return takesRows(tensor) && tensor.size(-1) <= kWidestNorm; }

bool takesDropout(const at::Tensor& tensor) {
  return tensor.is_cuda() && libraryIsOpen() && isStored(tensor.scalar_type());
}

at::Tensor dropout(const at::Tensor& x, const at::Tensor& numbers, const DropoutKey& key) {
  at::Tensor contiguous = x.contiguous(), counted = numbers.contiguous();
  at::Tensor y = at::empty_like(contiguous);
  const GradcacheRows rows{typeOf(x.scalar_type()), counted.numel(), x.size(-1), currentStream(x.device())};
  check(library().dropout(&rows, input(contiguous), counted.const_data_ptr<int64_t>(), key, output(y)),
        "dropout");
  return y;
}

Norm norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual, const NormWeights& weights,
          const DropoutKey& key, bool save) {
  Norm result = emptyNorm(x.size(0), x.size(1), x.options(), save);
  const GradcacheRows rows = describe(x);
  check(library().normForward(&rows, input(x), input(bias), input(residual), input(weights.scale),
                              input(weights.shift), static_cast<float>(weights.epsilon), key,
                              output(result.y), output(result.sum), floats(result.mean), floats(result.rstd)),
        "norm");
  return result;
}

NormGradients normBackward(const at::Tensor& dy, const Norm& saved, const NormWeights& weights,
                           const DropoutKey& key, const at::Tensor& scaleGradient,
                           const at::Tensor& shiftGradient, const at::Tensor& biasGradient) {
  at::Tensor gradient = dy.contiguous();
  NormGradients result;
  result.sum = at::empty_like(gradient);
  result.x = key.active() ? at::empty_like(gradient) : result.sum;
  result.y = at::empty_like(gradient);
  const GradcacheRows rows = describe(gradient);
  at::Tensor work = scratch(library().normBackwardScratch(&rows), gradient);
  check(library().normBackward(&rows, input(gradient), input(saved.sum), floats(saved.mean),
                               floats(saved.rstd), input(weights.scale), input(weights.shift), key,
                               output(result.sum), output(result.x), output(result.y), floats(scaleGradient),
                               floats(shiftGradient), floats(biasGradient), output(work)),
        "norm backward");
  return result;
}

Norm embed(const Embedding& embedding, const NormWeights& weights, const DropoutKey& key, bool save) {
  Norm result = emptyNorm(embedding.ids.size(0), embedding.words.size(1), embedding.words.options(), save);
  const GradcacheRows rows = describe(result.y);
  check(library().embeddingForward(&rows, input(embedding.words), embedding.ids.const_data_ptr<int64_t>(),
                                   input(embedding.positions), embedding.places.const_data_ptr<int64_t>(),
                                   input(embedding.type), input(weights.scale), input(weights.shift),
                                   static_cast<float>(weights.epsilon), key, output(result.y),
                                   output(result.sum), floats(result.mean), floats(result.rstd)),
        "embedding");
  return result;
}

at::Tensor embedBackward(const at::Tensor& dy, const Norm& saved, const NormWeights& weights,
                         const DropoutKey& key, const at::Tensor& scaleGradient,
                         const at::Tensor& shiftGradient, const at::Tensor& typeGradient) {
  at::Tensor gradient = dy.contiguous();
  at::Tensor dsum = at::empty_like(gradient);
  const GradcacheRows rows = describe(gradient);
  at::Tensor work = scratch(library().normBackwardScratch(&rows), gradient);
  check(library().embeddingBackward(&rows, input(gradient), input(saved.sum), floats(saved.mean),
                                    floats(saved.rstd), input(weights.scale), input(weights.shift), key,
                                    output(dsum), floats(scaleGradient), floats(shiftGradient),
                                    floats(typeGradient), output(work)),
        "embedding backward");
  return dsum;
}

at::Tensor activation(const at::Tensor& x, const at::Tensor& bias, Activation kind) {
  const GradcacheRows rows = describe(x);
  at::Tensor y = at::empty_like(x);
  check(library().activationForward(&rows, kindOf(kind), input(x), input(bias), output(y)), "activation");
  return y;
}

ActivationGradients activationBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                                       Activation kind, const at::Tensor& biasGradient) {
  at::Tensor gradient = dy.contiguous();
  ActivationGradients result{at::empty_like(gradient), at::empty_like(gradient)};
  const GradcacheRows rows = describe(gradient);
  at::Tensor work = scratch(library().activationBackwardScratch(&rows), gradient);
  check(library().activationBackward(&rows, kindOf(kind), input(gradient), input(x), input(bias),
                                     output(result.x), output(result.y), floats(biasGradient), output(work)),
        "activation backward");
  return result;
}

void addRows(const at::Tensor& table, const at::Tensor& indices, const at::Tensor& x) {
  at::Tensor contiguous = x.contiguous();
  auto [sorted, order] = at::sort(indices, std::optional<bool>(true), /*dim=*/0, /*descending=*/false);
  const GradcacheRows rows = describe(contiguous);
  at::Tensor work = scratch(library().addRowsScratch(&rows), contiguous);
  check(library().addRows(&rows, input(contiguous), sorted.const_data_ptr<int64_t>(),
                          order.const_data_ptr<int64_t>(), floats(table), output(work)),
        "add rows");
}

void addColumnSum(const at::Tensor& gradient, const at::Tensor& x) {
  at::Tensor contiguous = x.contiguous();
  const GradcacheRows rows = describe(contiguous);
  at::Tensor work = scratch(library().columnSumScratch(&rows), contiguous);
  check(library().columnSum(&rows, input(contiguous), floats(gradient), output(work)), "column sum");
}

}  // namespace gradcache::kernels::cuda
