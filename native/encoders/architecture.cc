#include "encoders/architecture.h"

#include "core/error.h"

namespace gradcache {

Architecture architectureNamed(const std::string& name) {
  if (name == "bert") return bert();
  if (name == "roberta") return roberta();
  if (name == "distilbert") return distilbert();
  if (name == "mpnet") return mpnet();
  fail("CHECKPOINT", "encoder architecture '", name,
       "' is not supported; bert, roberta, distilbert and mpnet are");
}

}  // namespace gradcache
