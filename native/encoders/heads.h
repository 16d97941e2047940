// The heads by name of their pooling.
#pragma once

#include <memory>

#include "core/settings.h"
#include "model/builder.h"
#include "model/head.h"

namespace gradcache {

// Adds the head's parts to the builder, behind blocks whose rows have `width` columns. The setting `pooling`
// names it: none; splade, which has the settings of `splade`; or the poolings of a PooledHead.
std::shared_ptr<const Head> makeHead(int64_t width, const Settings& settings, Builder& builder);

}  // namespace gradcache
