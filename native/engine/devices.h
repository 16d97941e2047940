// The devices that a job touches.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <c10/core/Device.h>

#include <vector>

namespace gradcache {

// A set of devices. Numbers that libtorch wraps in tensors have none.
class Devices {
 public:
  Devices() = default;
  explicit Devices(c10::Device device) { add(device); }
  explicit Devices(const std::vector<at::Tensor>& tensors) {
    for (const at::Tensor& tensor : tensors) add(tensor);
  }

  void add(c10::Device device);
  void add(const at::Tensor& tensor);
  // Adds an argument of an operator: a device, or the devices of the tensors in it.
  void add(const c10::IValue& value);

  const std::vector<c10::Device>& list() const { return devices_; }

 private:
  std::vector<c10::Device> devices_;
};

}  // namespace gradcache
