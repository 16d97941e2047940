#include "core/seeded_generators.h"

#include <utility>

namespace gradcache {

void GeneratorMutex::lock() {
  const auto self = std::this_thread::get_id();
  std::unique_lock<std::mutex> lock(mutex_);
  free_.wait(lock, [&] { return depth_ == 0 || holder_ == self; });
  holder_ = self;
  ++depth_;
}

void GeneratorMutex::unlock() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (depth_ == 0 || holder_ != std::this_thread::get_id()) return;
  if (--depth_ == 0) free_.notify_one();
}

void GeneratorMutex::letGo() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (holder_ != std::this_thread::get_id()) return;
  depth_ = 0;
  free_.notify_one();
}

// Never destroyed: threads may still wait for their turn when the process exits.
GeneratorMutex& generatorMutex() {
  static GeneratorMutex& instance = *new GeneratorMutex;
  return instance;
}

SeededGenerators::SeededGenerators(std::vector<at::Generator> generators)
    : lock_(generatorMutex()), generators_(std::move(generators)) {
  states_.reserve(generators_.size());
  for (at::Generator& generator : generators_) {
    std::lock_guard<std::mutex> guard(generator.mutex());
    states_.push_back(generator.get_state());
  }
}

// The delegated constructor completes the object with all states: if a seed is refused, the destructor
// restores them.
SeededGenerators::SeededGenerators(std::vector<at::Generator> generators, uint64_t seed)
    : SeededGenerators(std::move(generators)) {
  for (at::Generator& generator : generators_) {
    std::lock_guard<std::mutex> guard(generator.mutex());
    generator.set_current_seed(seed);
  }
}

SeededGenerators::~SeededGenerators() {
  while (!states_.empty()) {
    try {
      restore();
    } catch (...) {  // an error is under way already, and the other generators are still to be put back
    }
  }
}

void SeededGenerators::restore() {
  while (!states_.empty()) {
    const at::Tensor state = std::move(states_.back());
    states_.pop_back();
    at::Generator& generator = generators_[states_.size()];
    std::lock_guard<std::mutex> guard(generator.mutex());
    generator.set_state(state);
  }
}

}  // namespace gradcache
