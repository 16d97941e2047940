// Settings by name: numbers, booleans, strings, lists of whole or any numbers, lists of Settings. A setting
// that nobody reads is a mistake of the caller.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace gradcache {

// More layers than any model has. The tables of layers need memory before any tensor does.
constexpr int64_t kMostLayers = 4096;

class Settings {
 public:
  using Value = std::variant<double, bool, std::string, std::vector<int64_t>, std::vector<double>,
                             std::vector<Settings>>;
  // `owner` names the settings in messages.
  Settings(std::string owner, std::map<std::string, Value> values)
      : owner_(std::move(owner)), values_(std::move(values)) {}

  bool has(const std::string& name) const { return values_.contains(name); }

  // Each throws INPUT with the name if the setting is missing or of another type.
  double number(const std::string& name) const { return get<double>(name, "a number"); }
  bool truth(const std::string& name) const { return get<bool>(name, "true or false"); }
  const std::string& text(const std::string& name) const { return get<std::string>(name, "a string"); }
  const std::vector<double>& numbers(const std::string& name) const {
    return get<std::vector<double>>(name, "a Float64Array");
  }
  const std::vector<int64_t>& integers(const std::string& name) const {
    return get<std::vector<int64_t>>(name, "a list of whole numbers");
  }

  // A whole number from `least` to `most`, else CHECKPOINT.
  int64_t size(const std::string& name, int64_t least = 1,
               int64_t most = std::numeric_limits<int32_t>::max()) const;
  // At most kMostLayers records, else CHECKPOINT.
  const std::vector<Settings>& list(const std::string& name) const;

  // Throws INPUT for a setting that nobody has read.
  void requireAllRead() const;

 private:
  template <class Kind>
  const Kind& get(const std::string& name, const char* kind) const;

  std::string owner_;
  std::map<std::string, Value> values_;
  mutable std::set<std::string> read_;
};

}  // namespace gradcache
