// Errors that reach the user with a stable code (lib/errors.ts lists the codes).
#pragma once

#include <c10/util/StringUtil.h>

#include <stdexcept>
#include <string>

namespace gradcache {

class Error : public std::runtime_error {
 public:
  Error(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
  // A static string: one of the codes of lib/errors.ts.
  const char* code() const { return code_; }

 private:
  const char* code_;
};

template <class... Parts>
[[noreturn]] void fail(const char* code, const Parts&... parts) {
  throw Error(code, c10::str(parts...));
}

template <class... Parts>
void require(bool condition, const char* code, const Parts&... parts) {
  if (!condition) fail(code, parts...);
}

}  // namespace gradcache
