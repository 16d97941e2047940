// From C++ exceptions to JavaScript errors that carry a stable `code`. Nothing else may cross the boundary.
#pragma once

#include <napi.h>

#include <exception>
#include <string>

namespace gradcache::binding {

struct ErrorReport {
  std::string code;
  std::string message;
};

// Describes the exception being handled; call it only inside a catch block.
ErrorReport describeCurrentException();

Napi::Error toJavaScript(Napi::Env env, const ErrorReport& report);

// Runs `body` and turns any C++ exception into a JavaScript one. Every exported function goes through here.
template <class Body>
auto guarded(Napi::Env env, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw toJavaScript(env, describeCurrentException());
  }
}

}  // namespace gradcache::binding
