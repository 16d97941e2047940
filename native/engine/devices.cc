#include "engine/devices.h"

#include <algorithm>

namespace gradcache {

void Devices::add(c10::Device device) {
  if (device.is_cpu()) device = c10::Device(at::kCPU);  // 'cpu:0' is the same
  if (std::find(devices_.begin(), devices_.end(), device) == devices_.end()) devices_.push_back(device);
}

void Devices::add(const at::Tensor& tensor) {
  if (tensor.defined() && !tensor.unsafeGetTensorImpl()->is_wrapped_number()) add(tensor.device());
}

void Devices::add(const c10::IValue& value) {
  value.visit([this](const c10::IValue& part) {
    if (part.isTensor()) add(part.toTensor());
    if (part.isDevice()) add(part.toDevice());
    return false;
  });
}

}  // namespace gradcache
