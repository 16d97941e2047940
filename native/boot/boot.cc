// Opens shared libraries by absolute path, before the main addon (which needs them by name) is required. It
// is a separate addon, linked without libtorch, because it must load before libtorch is found.
//
// It keeps no state: several worker threads may call it at once, and the loader counts references. Handles
// are never closed, so the libraries stay open for the life of the process.

#include <dlfcn.h>
#include <napi.h>

#include <string>

namespace {

// open(paths: string[], global: boolean): { path: string, error: string | null }[]
// Opens them in order and stops at the first that fails. Never throws for a library that does not open.
Napi::Value Open(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsArray() || !info[1].IsBoolean()) {
    throw Napi::TypeError::New(env, "open(paths: string[], global: boolean)");
  }
  const auto paths = info[0].As<Napi::Array>();
  const int flags = RTLD_NOW | (info[1].As<Napi::Boolean>().Value() ? RTLD_GLOBAL : RTLD_LOCAL);
  auto results = Napi::Array::New(env);
  for (uint32_t index = 0; index < paths.Length(); ++index) {
    const Napi::Value path = paths.Get(index);
    if (!path.IsString()) throw Napi::TypeError::New(env, "every path must be a string");
    auto result = Napi::Object::New(env);
    result.Set("path", path);
    result.Set("error", env.Null());
    results.Set(index, result);
    if (dlopen(path.As<Napi::String>().Utf8Value().c_str(), flags) == nullptr) {
      const char* reason = dlerror();  // per thread
      result.Set("error", reason != nullptr ? reason : "dlopen failed without a reason");
      break;
    }
  }
  return results;
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("open", Napi::Function::New(env, Open, "open"));
  return exports;
}

}  // namespace

NODE_API_MODULE(boot, Init)
