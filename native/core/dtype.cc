#include "core/dtype.h"

#include <array>
#include <utility>

#include "core/error.h"

namespace gradcache {

namespace {

constexpr std::array<std::pair<const char*, at::ScalarType>, 10> kTypes{{
    {"float64", at::kDouble},
    {"float32", at::kFloat},
    {"float16", at::kHalf},
    {"bfloat16", at::kBFloat16},
    {"int64", at::kLong},
    {"int32", at::kInt},
    {"int16", at::kShort},
    {"int8", at::kChar},
    {"uint8", at::kByte},
    {"bool", at::kBool},
}};

}  // namespace

const char* dtypeName(at::ScalarType type) {
  for (const auto& [name, known] : kTypes) {
    if (known == type) return name;
  }
  return c10::toString(type);
}

at::ScalarType dtypeFromName(const std::string& name) {
  for (const auto& [known, type] : kTypes) {
    if (name == known) return type;
  }
  fail("DTYPE", "'", name,
       "' is no element type; known are float64, float32, float16, bfloat16, int64, int32, int16, int8, "
       "uint8, bool");
}

}  // namespace gradcache
