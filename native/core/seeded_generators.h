// Turns at libtorch's default random generators, which all threads of the process share.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace gradcache {

// A recursive mutex that a thread can let go of for good.
class GeneratorMutex {
 public:
  void lock();
  // Does nothing for a thread that has let go.
  void unlock();
  // For process.exit() under a seed, which never comes back to unlock: others must not wait for it.
  void letGo();

 private:
  std::mutex mutex_;
  std::condition_variable free_;
  std::thread::id holder_;
  int64_t depth_ = 0;
};

// Held while anything of this package draws from a default generator: under a seed, or an operator without
// one. Recursive, because what runs under a seed draws itself, and may set another seed. The one order of
// locks is this mutex before a generator's own. Who holds it must not wait for another thread that may draw.
GeneratorMutex& generatorMutex();

// Generators under a seed, with the mutex held, for the life of the object. Call restore() where the work has
// gone well: it tells what goes wrong, which the destructor cannot.
class SeededGenerators {
 public:
  SeededGenerators(std::vector<at::Generator> generators, uint64_t seed);
  ~SeededGenerators();
  SeededGenerators(const SeededGenerators&) = delete;
  SeededGenerators& operator=(const SeededGenerators&) = delete;

  // Puts the generators back as they were.
  void restore();

 private:
  explicit SeededGenerators(std::vector<at::Generator> generators);

  std::lock_guard<GeneratorMutex> lock_;
  std::vector<at::Generator> generators_;
  // Of the first generators, those that are not yet put back.
  std::vector<at::Tensor> states_;
};

}  // namespace gradcache
