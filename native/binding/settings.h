#pragma once

#include <napi.h>

#include <string>

#include "core/settings.h"

namespace gradcache::binding {

// A plain object's settings by name; those that are null or undefined are left out. A list is one
// of whole numbers, or of records. Throws INPUT for a value that no setting has.
Settings settingsFrom(const std::string& owner, const Napi::Value& value);

}  // namespace gradcache::binding
