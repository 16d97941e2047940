// The native half of lib/encoders/text-encoder.ts.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "encoders/encoder.h"

namespace gradcache::binding {

class EncoderHandle : public Napi::ObjectWrap<EncoderHandle> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  // new EncoderHandle(settings, precision, device | null, frozen, adapters, rowGradients?, narrowWeights?):
  // settings by name, names of parameters, [{ layer, rank, scale, dropout }], booleans. Null: declared alone,
  // without memory or passes.
  explicit EncoderHandle(const Napi::CallbackInfo& info);

 private:
  struct Chunk {
    std::shared_ptr<const TokenBatch> batch;
    std::vector<int32_t> rows;
    int64_t tokens;
    uint64_t seed;
  };
  Encoder& alive();
  // Arguments 0 to 3 of forward and backward. The chunk is packed on the engine.
  Chunk chunkFrom(const Napi::CallbackInfo& info);
  // A gradient of representations: [rows, dimension], or of entries, whose number a pass tells.
  at::Tensor gradientFrom(const Napi::Value& value, int64_t rows);
  // How many representations a batch has, and the numbers of those of a chunk among them.
  int64_t representationsOf(const TokenBatch& batch);
  static std::vector<int32_t> placesOf(const Encoder& encoder, const Chunk& chunk);
  // The representations of a chunk; for the engine.
  static Encoded encode(const Encoder& encoder, const Chunk& chunk, Mode mode);
  // The same of one row each, into rows of `target`; undefined without a graph.
  static at::Tensor encodeInto(const Encoder& encoder, const Chunk& chunk, Mode mode, at::Tensor& target);

  Napi::Value dimension(const Napi::CallbackInfo& info);
  // [{ name, tensor, decay, trainable, linear, initial: { uniform } | { constant } | null }]
  Napi::Value parameters(const Napi::CallbackInfo& info);
  // The one tensor that all gradients are views of.
  Napi::Value gradients(const Napi::CallbackInfo& info);
  // Changes whenever a weight is written.
  Napi::Value version(const Napi::CallbackInfo& info);
  Napi::Value graphBytes(const Napi::CallbackInfo& info);
  // batch(ids: Int32Array, offsets: Int32Array, numbers?: Int32Array, types?: Int32Array, counts?:
  // Uint8Array, skipped?, unattended?: Int32Array): a promise of a TokenBatchHandle
  Napi::Value batch(const Napi::CallbackInfo& info);
  // forward(batch, rows: Int32Array, tokens, seed, mode: 'inference' | 'without-graph' | 'with-graph', group,
  // target?): a promise of { representations, counts }, where counts are the representations of each row, or
  // null for one. With `target` [representations of the batch, width] they are put into their places, cut to
  // its width; they are the result only with a graph.
  Napi::Value forward(const Napi::CallbackInfo& info);
  // backward(batch, rows, tokens, seed, gradient, group): the same forward again with a graph, then its
  // backward seeded with `gradient` [representations, dimension]; a promise of nothing
  Napi::Value backward(const Napi::CallbackInfo& info);
  // backwardRows(batch, rows, tokens, seed, gradients, group, graph, last): backward seeded with the chunk's
  // rows of `gradients` [representations of the batch, dimension]; from the representations `graph` unless
  // that is null
  Napi::Value backwardRows(const Napi::CallbackInfo& info);
  // Of the backward whose `last` is true.
  void resetProgress(const Napi::CallbackInfo& info);
  Napi::Value finalFrom(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<Encoder> encoder_;
};

}  // namespace gradcache::binding
