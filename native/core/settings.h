// What something is made from, by name: numbers, truths, texts and lists of whole numbers. Whoever needs a
// setting asks for it; one that nobody has asked for is a mistake of the caller's.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace gradcache {

class Settings {
 public:
  using Value = std::variant<double, bool, std::string, std::vector<int64_t>>;
  // `owner` is whose settings they are, for messages.
  Settings(std::string owner, std::map<std::string, Value> values)
      : owner_(std::move(owner)), values_(std::move(values)) {}

  bool has(const std::string& name) const { return values_.contains(name); }

  // Each throws INPUT, with the name, where the setting is missing or of another kind.
  double number(const std::string& name) const { return get<double>(name, "a number"); }
  bool truth(const std::string& name) const { return get<bool>(name, "true or false"); }
  const std::string& text(const std::string& name) const { return get<std::string>(name, "a string"); }
  const std::vector<int64_t>& integers(const std::string& name) const {
    return get<std::vector<int64_t>>(name, "a list of whole numbers");
  }

  // Throws INPUT for a setting that nobody has asked for.
  void requireAllRead() const;

 private:
  template <class Kind>
  const Kind& get(const std::string& name, const char* kind) const;

  std::string owner_;
  std::map<std::string, Value> values_;
  mutable std::set<std::string> read_;
};

}  // namespace gradcache
