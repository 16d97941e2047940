#include "encoders/architectures.h"

#include <map>

#include "core/error.h"

namespace gradcache {

namespace {

const std::map<std::string, BuildArchitecture*> kArchitectures{
    {"albert", albert},
    {"bert", bert},
    {"deberta-v2", debertaV2},
    {"decoder", decoder},
    {"distilbert", distilbert},
    {"electra", electra},
    {"gte", gte},
    {"modernbert", modernbert},
    {"mpnet", mpnet},
    {"nomic_bert", nomicBert},
    {"sru", sru},
    {"srupp", srupp},
    {"static", staticWords},
    {"t5", t5},
};

}  // namespace

Architecture buildArchitecture(const std::string& name, const Settings& settings, Builder& builder) {
  const auto found = kArchitectures.find(name);
  require(found != kArchitectures.end(), "INPUT", "there is no encoder architecture '", name, "'");
  return found->second(settings, builder);
}

}  // namespace gradcache
