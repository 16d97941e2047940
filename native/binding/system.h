// Memory, devices, threads and other properties of the process.
#pragma once

#include <napi.h>

namespace gradcache::binding {

// libtorch lets cuDNN, and with it LSTM and GRU, round float32 to TF32 unless told otherwise.
void keepFloat32();

// memory(device): { allocated, peak, reserved, available } in bytes; on the CPU the resident size of the
// process, its peak, and what the system could still give.
Napi::Value memory(const Napi::CallbackInfo& info);
void resetPeakMemory(const Napi::CallbackInfo& info);
// emptyCache(device): returns the allocator's unused memory to the driver.
void emptyCache(const Napi::CallbackInfo& info);
// synchronize(device): promise that settles when all work given to the device is done.
Napi::Value synchronize(const Napi::CallbackInfo& info);
// threads(count?): returns the number of CPU threads of a kernel, after setting it to `count` if given.
Napi::Value threads(const Napi::CallbackInfo& info);
// devices(): names of the devices that can be used.
Napi::Value devices(const Napi::CallbackInfo& info);
// cancel(group): rejects the group's jobs that have not begun with ABORTED.
void cancel(const Napi::CallbackInfo& info);
// openCudaKernels(path, libtorchCuda): loads the library of CUDA kernels.
void openCudaKernels(const Napi::CallbackInfo& info);
// shutdown(): waits for running jobs and ends the engines. Needed at the end of the main thread: exit()
// destroys libtorch's globals, and process.exit() does not run the main thread's clean-up hooks.
void shutdown(const Napi::CallbackInfo& info);

}  // namespace gradcache::binding
