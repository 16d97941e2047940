// The architectures by name. Each is a function in its own file.
#pragma once

#include <string>

#include "core/settings.h"
#include "model/builder.h"

namespace gradcache {

struct Architecture {
  TokenRules rules;
  int64_t width = 0;  // of the last block's rows
  size_t behind = 0;  // blocks behind the last layer
};

// Adds the embeddings and the layers to the builder.
using BuildArchitecture = Architecture(const Settings& settings, Builder& builder);
BuildArchitecture albert, bert, debertaV2, decoder, distilbert, electra, gte, modernbert, mpnet, nomicBert,
    sru, srupp, staticWords, t5;

// Throws INPUT for a name that is none of these.
Architecture buildArchitecture(const std::string& name, const Settings& settings, Builder& builder);

}  // namespace gradcache
