// Collects the parts of an encoder from its architecture's file: parameters, dropout places, carried
// slots and blocks, in the order of a pass.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "model/block.h"

namespace gradcache {

struct BuiltBlock {
  std::shared_ptr<const Block> block;
  // True if it or an earlier block has trainable parameters; otherwise backward stops before it.
  bool trained = true;
  // Parameters that are declared by it and by the blocks before.
  size_t parameters = 0;
};

class Builder {
 public:
  explicit Builder(Training training) : parameters(std::move(training)) {}

  ParameterList parameters;
  std::vector<BuiltBlock> blocks;
  std::vector<CarriedSlot> carried;

  ParameterId table(const std::string& name, int64_t rows, int64_t columns) {
    return parameters.add({{name + ".weight", {rows, columns}}});
  }
  // A table of which a pass reads the rows of its tokens, and adds to their gradients by addWordRows.
  ParameterId words(const std::string& name, int64_t rows, int64_t columns, const Initial& initial = {}) {
    ParameterSpec spec{name + ".weight", {rows, columns}, true, initial};
    spec.lookedUp = true;
    return parameters.add({std::move(spec)});
  }
  Dropout dropout(double probability) {
    require(DropoutKey::possible(probability), "INPUT", "dropout ", probability, " is not in [0, 0.99999]");
    return {probability, sites_++};
  }
  Carry carry(CarriedKind kind, int64_t width) {
    carried.push_back({kind, width});
    return {carried.size() - 1};
  }
  // A new block, which declares its parts with this builder as its last argument.
  template <class Kind, class... Arguments>
  void add(Arguments&&... arguments) {
    auto block = std::make_shared<const Kind>(std::forward<Arguments>(arguments)..., *this);
    blocks.push_back({std::move(block), parameters.anyTrainable(), parameters.size()});
  }

  // The block before once more, with the same parameters and dropout places.
  void repeat() { blocks.push_back(blocks.back()); }

 private:
  uint64_t sites_ = 0;
};

}  // namespace gradcache
