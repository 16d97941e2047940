// How a process reaches the others: the store where they meet, and Gloo's connections.
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <string>

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

namespace gradcache::distributed {

struct ConnectionOptions {
  std::string host;
  uint16_t port = 0;
  int rank = 0, size = 1;
  bool server = false;  // true: this process holds the store; else another one does
  std::string prefix;   // keeps the keys of one start of a run apart from those of another
  std::chrono::milliseconds timeout{600'000};
};

struct Connection {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::Backend> gloo;
};

// Waits for the others. Throws DISTRIBUTED where the store cannot be opened or reached, or where the others
// do not come within the timeout; ABORTED soon after `stopped` has become true.
Connection connect(const ConnectionOptions& options, const std::atomic<bool>& stopped);

// More connections of Gloo between the same processes, whose exchanges need not be in step with those of the
// first. All ranks call it. Throws as `connect` does.
c10::intrusive_ptr<c10d::Backend> connectBeside(const ConnectionOptions& options,
                                                c10::intrusive_ptr<c10d::Store> store,
                                                const std::atomic<bool>& stopped);

// What c10d's error says, without the trace of its stack.
std::string textOf(const std::exception& error);

}  // namespace gradcache::distributed
