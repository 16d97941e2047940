// NCCL's process group of libtorch, made through the constructors that libtorch_cuda exports: the addon links
// to no library of CUDA.
#pragma once

#include <chrono>
#include <string>

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace gradcache::distributed {

// NCCL's group on the device that is current at its first exchange. It lives until the process ends: its size
// is not known here, so nobody can free it as it was made. Throws DISTRIBUTED where libtorch_cuda has no
// NCCL, or another one than this code knows.
c10::intrusive_ptr<c10d::Backend> makeNccl(const std::string& libtorchCuda,
                                           c10::intrusive_ptr<c10d::Store> store, int rank, int size,
                                           std::chrono::milliseconds timeout);

}  // namespace gradcache::distributed
