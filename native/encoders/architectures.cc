#include "encoders/architectures.h"

#include "core/error.h"

namespace gradcache {

Architecture buildNamed(const std::string& name, const Settings& settings, Builder& builder) {
  if (name == "bert") return bert(settings, builder);
  if (name == "mpnet") return mpnet(settings, builder);
  if (name == "distilbert") return distilbert(settings, builder);
  fail("INPUT", "there is no encoder architecture '", name, "'");
}

}  // namespace gradcache
