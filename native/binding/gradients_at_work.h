// The gradients that running backwards add to.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/devices.h"

namespace gradcache::binding {

// The leaves below these roots: the tensors whose gradients a backward from the roots adds up.
std::vector<at::Tensor> leavesBelow(const std::vector<at::Tensor>& roots);
// The devices that a backward from these roots touches: those of all gradients on its way.
Devices devicesBelow(const std::vector<at::Tensor>& roots);

// libtorch has no lock between a backward's thread and a thread that reads or replaces a leaf's gradient. All
// methods run on the JavaScript thread.
class GradientsAtWork {
 public:
  // Marks these leaves until the last copy of the result is gone.
  std::shared_ptr<void> mark(std::vector<at::Tensor> leaves);
  // Throws INPUT while a backward adds to the tensor's gradient.
  void refuse(const at::Tensor& tensor) const;

 private:
  struct Marks {
    std::unordered_map<const at::TensorImpl*, int> leaves;
    int backwards = 0;
  };
  std::shared_ptr<Marks> marks_ = std::make_shared<Marks>();
};

}  // namespace gradcache::binding
