// What the addon says of itself and of the machine, and the few settings of the process.
#pragma once

#include <napi.h>

namespace gradcache::binding {

// memory(device): { allocated, peak, reserved, available } in bytes; on the CPU the resident size of the
// process, its peak, and what the system could still give.
Napi::Value memory(const Napi::CallbackInfo& info);
void resetPeakMemory(const Napi::CallbackInfo& info);
// emptyCache(device): gives memory that the allocator holds without using it back to the driver.
void emptyCache(const Napi::CallbackInfo& info);
// synchronize(device): promise that settles when all work given to the device is done.
Napi::Value synchronize(const Napi::CallbackInfo& info);
// threads(count?): sets, where given, and returns the number of CPU threads a kernel uses.
Napi::Value threads(const Napi::CallbackInfo& info);
// devices(): names of the devices that can be used.
Napi::Value devices(const Napi::CallbackInfo& info);
// cancel(group): rejects the group's jobs that have not begun with ABORTED.
void cancel(const Napi::CallbackInfo& info);
// openCudaKernels(path, libtorchCuda): loads the library of CUDA kernels.
void openCudaKernels(const Napi::CallbackInfo& info);
// shutdown(): waits for the jobs under way and ends the engines. For the end of the main thread: exit()
// destroys libtorch's globals, and Node does not run the clean-up hooks of the main thread when
// process.exit() is called.
void shutdown(const Napi::CallbackInfo& info);
// buildInfo(): { libtorch, operators }
Napi::Value buildInfo(const Napi::CallbackInfo& info);

}  // namespace gradcache::binding
