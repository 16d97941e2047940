#define USE_C10D_GLOO

#include "distributed/connection.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <utility>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "core/error.h"
#include "distributed/own_thread.h"

namespace gradcache::distributed {

namespace {

// This machine's address on the way to the store. The machine's own name often stands for the loopback.
std::string addressTowards(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  std::string address;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return address;
  for (const addrinfo* entry = found; entry != nullptr && address.empty(); entry = entry->ai_next) {
    const int handle = socket(entry->ai_family, entry->ai_socktype, entry->ai_protocol);
    if (handle < 0) continue;
    sockaddr_storage own{};
    socklen_t size = sizeof own;
    char name[NI_MAXHOST] = "";
    // A datagram socket sends nothing here: it only finds the way.
    if (::connect(handle, entry->ai_addr, entry->ai_addrlen) == 0 &&
        getsockname(handle, reinterpret_cast<sockaddr*>(&own), &size) == 0 &&
        getnameinfo(reinterpret_cast<sockaddr*>(&own), size, name, sizeof name, nullptr, 0, NI_NUMERICHOST) ==
            0)
      address = name;
    ::close(handle);
  }
  freeaddrinfo(found);
  return address;
}

c10::intrusive_ptr<c10d::ProcessGroupGloo::Options> glooOptions(const ConnectionOptions& options) {
  const std::string address = addressTowards(options.host, options.port);
  if (std::getenv("GLOO_SOCKET_IFNAME") != nullptr || address.empty())
    return c10d::ProcessGroupGloo::Options::create_default(options.timeout);
  auto made = c10d::ProcessGroupGloo::Options::create(options.timeout);
  made->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(address));
  return made;
}

c10::intrusive_ptr<c10d::Backend> openGloo(const ConnectionOptions& options, const std::string& name,
                                           const c10::intrusive_ptr<c10d::Store>& store) {
  try {
    return c10::make_intrusive<c10d::ProcessGroupGloo>(c10::make_intrusive<c10d::PrefixStore>(name, store),
                                                       options.rank, options.size, glooOptions(options));
  } catch (const std::exception& error) {
    fail("DISTRIBUTED", "rank ", options.rank, " of ", options.size, " did not meet the others within ",
         std::chrono::duration<double>(options.timeout).count(), " s: ", textOf(error));
  }
}

Connection connectTo(const ConnectionOptions& options) {
  Connection made;
  try {
    c10d::TCPStoreOptions store;
    store.port = options.port;
    store.isServer = options.server;
    if (options.server) store.numWorkers = static_cast<size_t>(options.size);
    store.waitWorkers = false;  // Gloo waits below
    store.timeout = options.timeout;
    store.multiTenant = true;
    // With libuv the store would run on the libuv of the node executable, whose symbols come before
    // libtorch's own.
    store.useLibUV = false;
    made.store = c10::make_intrusive<c10d::PrefixStore>(
        options.prefix, c10::make_intrusive<c10d::TCPStore>(options.host, store));
  } catch (const std::exception& error) {
    fail("DISTRIBUTED", "rank ", options.rank, " of ", options.size,
         options.server ? " could not open the ranks' store at " : " did not reach the ranks' store at ",
         options.host, ":", options.port, ": ", textOf(error));
  }
  made.gloo = openGloo(options, "gloo", made.store);
  return made;
}

}  // namespace

Connection connect(const ConnectionOptions& options, const std::atomic<bool>& stopped) {
  // A process that is to exit does not wait for it.
  std::optional<Connection> made =
      onOwnThread([options] { return connectTo(options); }, [&] { return stopped.load(); });
  require(made.has_value(), "ABORTED", "meeting the other ranks was stopped: the process exits");
  return *std::move(made);
}

c10::intrusive_ptr<c10d::Backend> connectBeside(const ConnectionOptions& options,
                                                c10::intrusive_ptr<c10d::Store> store,
                                                const std::atomic<bool>& stopped) {
  auto made =
      onOwnThread([options, store = std::move(store)] { return openGloo(options, "gloo beside", store); },
                  [&] { return stopped.load(); });
  require(made.has_value(), "ABORTED", "meeting the other ranks was stopped: the process exits");
  return *std::move(made);
}

std::string textOf(const std::exception& error) {
  const auto* known = dynamic_cast<const c10::Error*>(&error);
  std::string text = known == nullptr ? error.what() : known->what_without_backtrace();
  // Some messages have the trace of the stack inside.
  for (const char* trace : {"\nException raised from", ". Original exception:\n"})
    if (const size_t at = text.find(trace); at != std::string::npos && at > 0) text.resize(at);
  return text;
}

}  // namespace gradcache::distributed
