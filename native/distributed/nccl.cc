#include "distributed/nccl.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>

#include "core/error.h"

namespace gradcache::distributed {

namespace {

// c10d::ProcessGroupNCCL::Options::Options(bool), and
// c10d::ProcessGroupNCCL::ProcessGroupNCCL(intrusive_ptr<Store>, int, int, intrusive_ptr<Options>). They are
// the same names in libtorch 2.11 to 2.14. Another libtorch is refused when ranks join.
constexpr const char* kOptions = "_ZN4c10d16ProcessGroupNCCL7OptionsC1Eb";
constexpr const char* kGroup =
    "_ZN4c10d16ProcessGroupNCCLC1EN3c1013intrusive_ptrINS_5StoreENS1_6detail34intrusive_target_default_null_"
    "typeI"
    "S3_EEEEiiNS2_INS0_7OptionsENS5_IS8_EEEE";

// Their headers need those of CUDA and of the very NCCL that libtorch was built with (an option holds an
// ncclConfig_t, which grows with NCCL), so their sizes are not known here: 1,184 and 280 bytes at most in
// libtorch 2.11 to 2.14.
constexpr size_t kRoom = size_t{16} << 10;
// Of that, the last part must be left as it was.
constexpr size_t kSpare = kRoom / 2;
constexpr auto kMark = std::byte{0xa5};

// The Itanium ABI passes arguments of class type by reference to the caller's own.
using MakeOptions = void (*)(void* self, bool highPriority);
using MakeGroup = void (*)(void* self, c10::intrusive_ptr<c10d::Store>* store, int rank, int size,
                           c10::intrusive_ptr<c10d::Backend::Options>* options);

template <class Function>
Function find(void* library, const char* name) {
  void* found = dlsym(library, name);
  require(found != nullptr, "DISTRIBUTED", "libtorch_cuda has no ", name,
          ": it was built without NCCL, or this version of gradcache does not know it. Train on one GPU, or "
          "install another libtorch: npx gradcache setup");
  return reinterpret_cast<Function>(found);
}

// An object made by a constructor that is known by its address alone.
template <class Base, class Construct>
c10::intrusive_ptr<Base> make(const Construct& construct) {
  auto* memory = static_cast<std::byte*>(::operator new(kRoom));
  std::fill(memory + kSpare, memory + kRoom, kMark);
  try {
    construct(memory);
  } catch (...) {
    ::operator delete(memory);
    throw;
  }
  const bool spared =
      std::all_of(memory + kSpare, memory + kRoom, [](std::byte value) { return value == kMark; });
  require(spared, "DISTRIBUTED", "NCCL's objects of this libtorch are larger than ", kSpare,
          " bytes, which gradcache does not know how to make. Install another libtorch: npx gradcache setup");
  auto made = c10::intrusive_ptr<Base>::unsafe_steal_from_new(static_cast<Base*>(static_cast<void*>(memory)));
  // One reference is never given back: `delete` would take the memory for as much as the object has.
  static_cast<void>(c10::intrusive_ptr<Base>(made).release());
  return made;
}

}  // namespace

c10::intrusive_ptr<c10d::Backend> makeNccl(const std::string& libtorchCuda,
                                           c10::intrusive_ptr<c10d::Store> store, int rank, int size,
                                           std::chrono::milliseconds timeout) {
  // Errors come out of wait(), on the thread that waits. Without it a watchdog's thread ends the process.
  setenv("TORCH_NCCL_BLOCKING_WAIT", "1", /*overwrite=*/1);
  void* library = dlopen(libtorchCuda.c_str(), RTLD_NOW | RTLD_NOLOAD);
  require(library != nullptr, "DISTRIBUTED", libtorchCuda, " is not loaded: ", dlerror());
  const auto makeOptions = find<MakeOptions>(library, kOptions);
  const auto makeGroup = find<MakeGroup>(library, kGroup);
  auto options =
      make<c10d::Backend::Options>([&](void* memory) { makeOptions(memory, /*highPriority=*/false); });
  options->timeout = timeout;
  options->group_name = "gradcache";
  return make<c10d::Backend>([&](void* memory) { makeGroup(memory, &store, rank, size, &options); });
}

}  // namespace gradcache::distributed
