// Lists what is exported, nothing else.
#include <napi.h>

#include "binding/autograd.h"
#include "binding/encoder.h"
#include "binding/errors.h"
#include "binding/group.h"
#include "binding/instance.h"
#include "binding/language_model.h"
#include "binding/layout.h"
#include "binding/loss.h"
#include "binding/operator.h"
#include "binding/rounding.h"
#include "binding/rows.h"
#include "binding/segment_graph.h"
#include "binding/system.h"
#include "binding/tensor.h"
#include "binding/tensor_list.h"
#include "binding/token_batch.h"
#include "kernels/operators/operators.h"

namespace {

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  using namespace gradcache::binding;
  env.SetInstanceData(new Instance(env));  // owned by the environment
  guarded(env, [] {
    gradcache::kernels::registerOperators();
    keepFloat32();
  });

  TensorHandle::define(env, exports);
  TensorListHandle::define(env, exports);
  OperatorHandle::define(env, exports);
  EncoderHandle::define(env, exports);
  TokenBatchHandle::define(env);
  LanguageModelHandle::define(env, exports);
  SegmentGraphHandle::define(env);
  GroupHandle::define(env);

  exports.Set("interface", GRADCACHE_INTERFACE);  // by CMake, from lib/addon/interface.ts
  exports.Set("tensorFromBytes", Napi::Function::New<tensorFromBytes>(env));
  exports.Set("isTensor", Napi::Function::New<isTensor>(env));
  exports.Set("putRows", Napi::Function::New<putRows>(env));
  exports.Set("takeRows", Napi::Function::New<takeRows>(env));
  exports.Set("roundStochastically", Napi::Function::New<roundStochastically>(env));
  exports.Set("requireDense", Napi::Function::New<requireDense>(env));
  exports.Set("requireAlike", Napi::Function::New<requireAlike>(env));
  exports.Set("withGradMode", Napi::Function::New<withGradMode>(env));
  exports.Set("withSeed", Napi::Function::New<withSeed>(env));
  exports.Set("backward", Napi::Function::New<backward>(env));
  exports.Set("leaves", Napi::Function::New<leaves>(env));
  exports.Set("loss", Napi::Function::New<loss>(env));
  exports.Set("joinGroup", Napi::Function::New<joinGroup>(env));
  exports.Set("memory", Napi::Function::New<memory>(env));
  exports.Set("resetPeakMemory", Napi::Function::New<resetPeakMemory>(env));
  exports.Set("emptyCache", Napi::Function::New<emptyCache>(env));
  exports.Set("synchronize", Napi::Function::New<synchronize>(env));
  exports.Set("threads", Napi::Function::New<threads>(env));
  exports.Set("devices", Napi::Function::New<devices>(env));
  exports.Set("cancel", Napi::Function::New<cancel>(env));
  exports.Set("openCudaKernels", Napi::Function::New<openCudaKernels>(env));
  exports.Set("shutdown", Napi::Function::New<shutdown>(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(gradcache, initialize)
