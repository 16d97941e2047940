// The recurrent layers of a language model, from its settings.
#pragma once

#include "core/settings.h"
#include "model/builder.h"

namespace gradcache {

// Adds the layers that the setting `layers` lists; rows of `width` enter the first. Returns the width of the
// rows that leave the last.
int64_t addRecurrentLayers(int64_t width, const Settings& settings, Builder& builder);

}  // namespace gradcache
