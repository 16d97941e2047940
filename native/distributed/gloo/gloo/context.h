// libtorch comes without Gloo's headers, which its ProcessGroupGloo.hpp includes. These files stand in for
// them with the names that it needs. It holds pointers to Gloo's objects alone, so its layout does not depend
// on them.
#pragma once

#include <chrono>

namespace gloo {
class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};
}  // namespace gloo
