// One thread at a time uses libtorch's default random generators, which the whole process shares.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace gradcache {

// A recursive mutex that a thread can release for good.
class GeneratorMutex {
 public:
  void lock();
  // Does nothing after letGo().
  void unlock();
  // For process.exit() under a seed, which never returns to unlock: other threads must not wait for it.
  void letGo();

 private:
  std::mutex mutex_;
  std::condition_variable free_;
  std::thread::id holder_;
  int64_t depth_ = 0;
};

// Held while this package draws from a default generator, with a seed or without. Recursive, because code
// under a seed draws, and may set another seed. Lock this mutex before a generator's own. Its holder must not
// wait for a thread that may draw.
GeneratorMutex& generatorMutex();

// Seeds the generators and holds the mutex for the life of the object. Call restore() after success: it
// throws on failure, which the destructor cannot.
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
  // The states of the first generators that are not yet restored.
  std::vector<at::Tensor> states_;
};

}  // namespace gradcache
