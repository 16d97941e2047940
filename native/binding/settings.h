#pragma once

#include <napi.h>

#include <string>

#include "core/settings.h"

namespace gradcache::binding {

// A plain object's settings by name, without those that are null or undefined. A list holds whole numbers or
// records. Throws INPUT for any other type.
Settings settingsFrom(const std::string& owner, const Napi::Value& value);

}  // namespace gradcache::binding
