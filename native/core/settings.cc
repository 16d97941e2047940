#include "core/settings.h"

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

void Settings::requireAllRead() const {
  for (const auto& [name, value] : values_)
    require(read_.contains(name), "INPUT", owner_, " has no setting '", name, "'");
}

}  // namespace gradcache
