#include "binding/encoder.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "binding/arguments.h"
#include "binding/async.h"
#include "binding/rows.h"
#include "binding/settings.h"
#include "binding/tensor.h"
#include "binding/token_batch.h"
#include "binding/typed_array.h"
#include "core/error.h"

namespace gradcache::binding {

namespace {

// False where it is left out.
bool booleanFrom(const char* name, const Napi::Value& value) {
  require(value.IsBoolean() || value.IsUndefined(), "INPUT", name, " must be a boolean");
  return value.IsBoolean() && value.As<Napi::Boolean>().Value();
}

Training trainingFrom(const Napi::CallbackInfo& info) {
  const Napi::Value frozen = info[3], adapters = info[4];
  Training training;
  training.rowGradients = booleanFrom("rowGradients", info[5]);
  training.narrowWeights = booleanFrom("narrowWeights", info[6]);
  require(frozen.IsArray(), "INPUT", "frozen must be a list of names");
  const auto names = frozen.As<Napi::Array>();
  for (uint32_t k = 0; k < names.Length(); ++k) {
    require(names.Get(k).IsString(), "INPUT", "frozen must be a list of names");
    training.frozen.insert(names.Get(k).As<Napi::String>());
  }
  require(adapters.IsArray(), "INPUT", "the adapters must be a list");
  const auto list = adapters.As<Napi::Array>();
  for (uint32_t k = 0; k < list.Length(); ++k) {
    const Settings each = settingsFrom("an adapter", list.Get(k));
    const double dropout = each.number("dropout");
    require(DropoutKey::possible(dropout), "INPUT", "dropout ", dropout, " is not in [0, 0.99999]");
    training.adapters[each.text("layer")] = {each.size("rank"), each.number("scale"), dropout};
    each.requireAllRead();
  }
  return training;
}

// Whether it is known before a chunk is encoded where its representations are among those of the batch.
bool placed(const Head& head) { return head.oneRow() || head.perToken(); }

Napi::Value toObject(Napi::Env env, Encoded& encoded) {
  auto value = Napi::Object::New(env);
  value.Set("representations", TensorHandle::wrap(env, std::move(encoded.rows)));
  if (encoded.counts.empty()) {
    value.Set("counts", env.Null());
  } else {
    auto counts = Napi::Int32Array::New(env, encoded.counts.size());
    std::copy(encoded.counts.begin(), encoded.counts.end(), counts.Data());
    value.Set("counts", counts);
  }
  return value;
}

}  // namespace

void EncoderHandle::define(Napi::Env env, Napi::Object exports) {
  exports.Set("EncoderHandle", DefineClass(env, "EncoderHandle",
                                           {
                                               InstanceAccessor<&EncoderHandle::dimension>("dimension"),
                                               InstanceMethod<&EncoderHandle::parameters>("parameters"),
                                               InstanceMethod<&EncoderHandle::gradients>("gradients"),
                                               InstanceAccessor<&EncoderHandle::version>("version"),
                                               InstanceMethod<&EncoderHandle::graphBytes>("graphBytes"),
                                               InstanceMethod<&EncoderHandle::batch>("batch"),
                                               InstanceMethod<&EncoderHandle::forward>("forward"),
                                               InstanceMethod<&EncoderHandle::backward>("backward"),
                                               InstanceMethod<&EncoderHandle::backwardRows>("backwardRows"),
                                               InstanceMethod<&EncoderHandle::resetProgress>("resetProgress"),
                                               InstanceMethod<&EncoderHandle::finalFrom>("finalFrom"),
                                               InstanceMethod<&EncoderHandle::dispose>("dispose"),
                                           }));
}

EncoderHandle::EncoderHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  guarded(info.Env(), [&] {
    const c10::Device device =
        info[2].IsNull() ? c10::Device(at::kMeta) : deviceFromName(nameFrom(info[2], "DEVICE", "device"));
    const std::string precision = info[1].ToString();
    const bool tf32 = precision == "tf32";
    encoder_ = std::make_shared<Encoder>(
        settingsFrom("an encoder", info[0]), tf32 ? at::kFloat : precisionFrom(precision),
        tf32 ? Products::kTf32 : Products::kExact, device, trainingFrom(info));
  });
}

Encoder& EncoderHandle::alive() {
  require(encoder_ != nullptr, "DISPOSED", "the encoder was used after dispose()");
  return *encoder_;
}

Napi::Value EncoderHandle::dimension(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), static_cast<double>(alive().head().dimension()));
  });
}

Napi::Value EncoderHandle::parameters(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&]() -> Napi::Value { return toParameterList(info.Env(), alive().parameters()); });
}

Napi::Value EncoderHandle::gradients(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return TensorHandle::wrap(info.Env(), alive().parameters().flatGradients());
  });
}

Napi::Value EncoderHandle::version(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), static_cast<double>(alive().parameters().version()));
  });
}

Napi::Value EncoderHandle::graphBytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(),
                             static_cast<double>(alive().graphBytes(info[0].ToNumber().Int64Value(),
                                                                    info[1].ToNumber().Int64Value())));
  });
}

Napi::Value EncoderHandle::batch(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto optional = [&](size_t place, const char* name) {
      return info[place].IsUndefined() ? std::vector<int32_t>() : int32Elements(info[place], name);
    };
    auto counts = info[4].IsUndefined() ? std::vector<uint8_t>() : uint8Elements(info[4], "marks of tokens");
    const int64_t skipped = info[5].IsUndefined() ? 0 : info[5].ToNumber().Int64Value();
    return promise(
        info.Env(), 0, Devices(alive().parameters().flatGradients().device()),
        [encoder = encoder_, ids = int32Elements(info[0], "token ids"),
         offsets = int32Elements(info[1], "offsets"), numbers = optional(2, "numbers"),
         types = optional(3, "types"), counts = std::move(counts), skipped,
         unattended = optional(6, "unattended")]() mutable {
          return encoder->batch(std::move(ids), std::move(offsets), std::move(numbers), std::move(types),
                                std::move(counts), skipped, std::move(unattended));
        },
        [](Napi::Env env, std::shared_ptr<const TokenBatch>& batch) {
          return TokenBatchHandle::wrap(env, std::move(batch));
        });
  });
}

EncoderHandle::Chunk EncoderHandle::chunkFrom(const Napi::CallbackInfo& info) {
  require(info[2].IsNumber(), "INPUT", "a chunk's tokens must be a number");
  require(info[3].IsNumber(), "INPUT", "the seed must be a number");
  return {TokenBatchHandle::get(info[0]), int32Elements(info[1], "a chunk's rows"),
          info[2].As<Napi::Number>().Int64Value(),
          static_cast<uint64_t>(info[3].As<Napi::Number>().Int64Value())};
}

at::Tensor EncoderHandle::gradientFrom(const Napi::Value& value, int64_t rows) {
  const at::Tensor& gradient = TensorHandle::get(value, "the gradient");
  const int64_t columns = alive().columns();
  const bool fits = gradient.dim() == 2 && gradient.size(1) == columns;
  if (!placed(alive().head())) {
    require(fits, "SHAPE", "the gradient has shape ", gradient.sizes(), ", the representations have ",
            columns, " columns");
    return gradient;
  }
  require(fits && gradient.size(0) == rows, "SHAPE", "the gradient has shape ", gradient.sizes(),
          ", the representations have [", rows, ", ", columns, "]");
  return gradient;
}

int64_t EncoderHandle::representationsOf(const TokenBatch& batch) {
  return alive().head().perToken() ? batch.countedTokens() : batch.rows();
}

std::vector<int32_t> EncoderHandle::placesOf(const Encoder& encoder, const Chunk& chunk) {
  return encoder.head().perToken() ? chunk.batch->countedPlaces(chunk.rows) : chunk.rows;
}

Encoded EncoderHandle::encode(const Encoder& encoder, const Chunk& chunk, Mode mode) {
  return encoder.forward(encoder.pack(*chunk.batch, chunk.rows, chunk.tokens), chunk.seed, mode);
}

at::Tensor EncoderHandle::encodeInto(const Encoder& encoder, const Chunk& chunk, Mode mode,
                                     at::Tensor& target) {
  // A target for less than training takes is for the last layer alone.
  const bool last =
      !placed(encoder.head()) || (mode != Mode::kWithGraph && target.size(1) <= encoder.head().dimension());
  at::Tensor rows =
      last ? encoder.dense(encoder.pack(*chunk.batch, chunk.rows, chunk.tokens), chunk.seed, mode)
           : encode(encoder, chunk, mode).rows;
  putRows(target, placesOf(encoder, chunk), rows.detach().narrow(1, 0, target.size(1)));
  return mode == Mode::kWithGraph ? rows : at::Tensor();
}

Napi::Value EncoderHandle::forward(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto mode = modeFrom(info[4].ToString());
    Chunk chunk = chunkFrom(info);
    const uint64_t group = groupFrom(info[5]);
    Devices devices(alive().parameters().flatGradients().device());
    if (info[6].IsUndefined())
      return promise(
          info.Env(), group, devices,
          [encoder = encoder_, chunk = std::move(chunk), mode] { return encode(*encoder, chunk, mode); },
          toObject);
    at::Tensor target = TensorHandle::get(info[6], "the target");
    const Head& head = alive().head();
    const int64_t representations = representationsOf(*chunk.batch);
    const int64_t columns = placed(head) ? alive().columns() : head.dimension();
    require(target.dim() == 2 && target.size(0) == representations && target.size(1) <= columns, "SHAPE",
            "the target has shape ", target.sizes(), ", the batch's representations have [", representations,
            ", ", columns, "]");
    require(placed(head) || mode != Mode::kWithGraph, "INPUT",
            "representations of several rows have no graph in this form");
    devices.add(target);
    return promise(
        info.Env(), group, devices,
        [encoder = encoder_, chunk = std::move(chunk), mode, target = std::move(target)]() mutable {
          return encodeInto(*encoder, chunk, mode, target);
        },
        [](Napi::Env env, at::Tensor& result) {
          return result.defined() ? Napi::Value(TensorHandle::wrap(env, std::move(result))) : env.Undefined();
        });
  });
}

Napi::Value EncoderHandle::backward(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    Chunk chunk = chunkFrom(info);
    at::Tensor gradient = gradientFrom(info[4], static_cast<int64_t>(placesOf(alive(), chunk).size()));
    const Devices devices({alive().parameters().flatGradients(), gradient});
    return promise(
        info.Env(), groupFrom(info[5]), devices,
        [encoder = encoder_, chunk = std::move(chunk), gradient = std::move(gradient)] {
          const at::Tensor rows = encode(*encoder, chunk, Mode::kWithGraph).rows;
          require(rows.sizes() == gradient.sizes(), "SHAPE", "the gradient has shape ", gradient.sizes(),
                  ", the representations have ", rows.sizes());
          torch::autograd::backward({rows}, {gradient});
          return true;
        },
        [](Napi::Env env, bool) { return env.Undefined(); });
  });
}

Napi::Value EncoderHandle::backwardRows(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    Chunk chunk = chunkFrom(info);
    require(placed(alive().head()), "INPUT", "backwardRows takes representations whose places are known");
    at::Tensor gradients = gradientFrom(info[4], representationsOf(*chunk.batch));
    at::Tensor graph;
    if (!info[6].IsNull()) graph = TensorHandle::get(info[6], "the graph");
    require(!graph.defined() || graph.requires_grad(), "INPUT", "the representations have no graph");
    const bool last = info[7].IsBoolean() && info[7].As<Napi::Boolean>().Value();
    const Devices devices({alive().parameters().flatGradients(), gradients});
    return promise(
        info.Env(), groupFrom(info[5]), devices,
        [encoder = encoder_, chunk = std::move(chunk), gradients = std::move(gradients),
         graph = std::move(graph), last]() mutable {
          std::optional<BackwardProgress::Last> watched;
          if (last) watched.emplace(encoder->progress());
          if (!graph.defined()) graph = encode(*encoder, chunk, Mode::kWithGraph).rows;
          torch::autograd::backward({std::exchange(graph, {})},
                                    {takeRows(gradients, placesOf(*encoder, chunk))});
          return true;
        },
        [](Napi::Env env, bool) { return env.Undefined(); });
  });
}

void EncoderHandle::resetProgress(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { alive().progress().reset(); });
}

Napi::Value EncoderHandle::finalFrom(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), static_cast<double>(alive().progress().finalFrom()));
  });
}

Napi::Value EncoderHandle::dispose(const Napi::CallbackInfo& info) {
  encoder_.reset();  // jobs under way hold it on their own
  return info.Env().Undefined();
}

}  // namespace gradcache::binding
