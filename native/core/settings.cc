#include "core/settings.h"

#include <cmath>

#include "core/error.h"

namespace gradcache {

template <class Kind>
const Kind& Settings::get(const std::string& name, const char* kind) const {
  read_.insert(name);
  const auto found = values_.find(name);
  require(found != values_.end(), "INPUT", owner_, " needs the setting '", name, "', ", kind);
  const Kind* value = std::get_if<Kind>(&found->second);
  require(value != nullptr, "INPUT", "setting '", name, "' of ", owner_, " must be ", kind);
  return *value;
}

template const double& Settings::get(const std::string&, const char*) const;
template const bool& Settings::get(const std::string&, const char*) const;
template const std::string& Settings::get(const std::string&, const char*) const;
template const std::vector<int64_t>& Settings::get(const std::string&, const char*) const;
template const std::vector<double>& Settings::get(const std::string&, const char*) const;
template const std::vector<Settings>& Settings::get(const std::string&, const char*) const;

int64_t Settings::size(const std::string& name, int64_t least, int64_t most) const {
  const double value = number(name);
  require(
      std::trunc(value) == value && value >= static_cast<double>(least) && value <= static_cast<double>(most),
      "CHECKPOINT", "setting '", name, "' of ", owner_, " is ", value, ", it must be a whole number from ",
      least, " to ", most);
  return static_cast<int64_t>(value);
}

const std::vector<Settings>& Settings::list(const std::string& name) const {
  static const std::vector<Settings> none;
  const auto found = values_.find(name);
  // An empty list has no type of element.
  const auto* numbers = found == values_.end() ? nullptr : std::get_if<std::vector<int64_t>>(&found->second);
  if (numbers != nullptr && numbers->empty()) {
    read_.insert(name);
    return none;
  }
  const auto& list = get<std::vector<Settings>>(name, "a list of records");
  require(list.size() <= kMostLayers, "CHECKPOINT", "setting '", name, "' of ", owner_, " has ", list.size(),
          " entries, it may have ", kMostLayers);
  return list;
}

void Settings::requireAllRead() const {
  for (const auto& [name, value] : values_) {
    require(read_.contains(name), "INPUT", owner_, " has no setting '", name, "'");
    if (const auto* list = std::get_if<std::vector<Settings>>(&value))
      for (const Settings& each : *list) each.requireAllRead();
  }
}

}  // namespace gradcache
