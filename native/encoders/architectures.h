// The architectures: a function each, in a file of its own, and the one list of them.
#pragma once

#include <string>

#include "core/settings.h"
#include "model/builder.h"

namespace gradcache {

struct Architecture {
  TokenRules rules;
  int64_t width = 0;  // of the last block's rows
};

// Adds the embeddings and the layers to the builder.
Architecture bert(const Settings& settings, Builder& builder);
Architecture mpnet(const Settings& settings, Builder& builder);
Architecture distilbert(const Settings& settings, Builder& builder);

// Throws INPUT for a name that is none of these.
Architecture buildNamed(const std::string& name, const Settings& settings, Builder& builder);

}  // namespace gradcache
