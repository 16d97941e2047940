#include "binding/errors.h"

#include <c10/util/Exception.h>

#include <cstdlib>
#include <new>

#include "core/error.h"
#include "kernels/cuda/advice.h"

namespace gradcache::binding {

namespace {

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

// libtorch tells some kinds of error only by their message.
const char* codeOfLibtorchMessage(const std::string& message) {
  for (const char* words : {"not enough memory", "out of memory", "can't allocate memory"}) {
    if (contains(message, words)) return "OUT_OF_MEMORY";
  }
  if (contains(message, "same device") || contains(message, "on the same device")) return "DEVICE";
  return "OPERATOR";
}

// For bug reports: GRADCACHE_BACKTRACE=1 adds libtorch's backtrace.
std::string describe(const c10::Error& error) {
  const char* wanted = std::getenv("GRADCACHE_BACKTRACE");
  return wanted != nullptr && wanted[0] == '1' ? error.what() : error.what_without_backtrace();
}

}  // namespace

ErrorReport describeCurrentException() {
  try {
    throw;
  } catch (const gradcache::Error& error) {
    return {error.code(), error.what()};
  } catch (const c10::OutOfMemoryError& error) {
    return {"OUT_OF_MEMORY", describe(error)};
  } catch (const c10::Error& error) {
    std::string message = describe(error);
    if (const char* advice = kernels::cuda::adviceForDevice(message)) {
      return {"CUDA_UNAVAILABLE", message + "\n" + advice};
    }
    return {codeOfLibtorchMessage(message), message};
  } catch (const std::bad_alloc&) {
    return {"OUT_OF_MEMORY", "memory of the host ran out"};
  } catch (const std::exception& error) {
    return {codeOfLibtorchMessage(error.what()), error.what()};
  } catch (...) {
    return {"OPERATOR", "an exception of unknown type reached the boundary of the addon"};
  }
}

Napi::Error toJavaScript(Napi::Env env, const ErrorReport& report) {
  Napi::Error error = Napi::Error::New(env, report.message);
  error.Set("code", Napi::String::New(env, report.code));
  return error;
}

}  // namespace gradcache::binding
