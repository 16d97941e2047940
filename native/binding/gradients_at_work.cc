#include "binding/gradients_at_work.h"

#include <torch/csrc/autograd/functions/accumulate_grad.h>

#include <unordered_set>
#include <utility>

#include "core/error.h"

namespace gradcache::binding {

namespace autograd = torch::autograd;

namespace {

template <class Visit>
void visitNodesBelow(const std::vector<at::Tensor>& roots, const Visit& visit) {
  std::vector<autograd::Edge> edges;  // the roots hold all nodes below them
  std::vector<autograd::Node*> open;
  for (const at::Tensor& root : roots) {
    edges.push_back(autograd::impl::gradient_edge(root));
    open.push_back(edges.back().function.get());
  }
  std::unordered_set<autograd::Node*> seen;
  while (!open.empty()) {
    autograd::Node* node = open.back();
    open.pop_back();
    if (node == nullptr || !seen.insert(node).second) continue;
    visit(*node);
    for (const autograd::Edge& edge : node->next_edges()) open.push_back(edge.function.get());
  }
}

}  // namespace

std::vector<at::Tensor> leavesBelow(const std::vector<at::Tensor>& roots) {
  std::vector<at::Tensor> leaves;
  visitNodesBelow(roots, [&](const autograd::Node& node) {
    const auto* leaf = dynamic_cast<const autograd::AccumulateGrad*>(&node);
    if (leaf != nullptr) leaves.push_back(leaf->variable);
  });
  return leaves;
}

Devices devicesBelow(const std::vector<at::Tensor>& roots) {
  Devices devices;
  visitNodesBelow(roots, [&](const autograd::Node& node) {
    for (uint32_t k = 0; k < node.num_inputs(); ++k) devices.add(node.input_metadata(k).device());
  });
  return devices;
}

std::shared_ptr<void> GradientsAtWork::mark(std::vector<at::Tensor> leaves) {
  for (const at::Tensor& leaf : leaves) ++marks_->leaves[leaf.unsafeGetTensorImpl()];
  ++marks_->backwards;
  // Holding the tensors keeps others from getting the address of a marked one.
  return {nullptr, [marks = marks_, held = std::move(leaves)](void*) {
            --marks->backwards;
            for (const at::Tensor& leaf : held) {
              const auto found = marks->leaves.find(leaf.unsafeGetTensorImpl());
              if (--found->second == 0) marks->leaves.erase(found);
            }
          }};
}

void GradientsAtWork::refuse(const at::Tensor& tensor) const {
  // A tensor inside a graph has a gradient only if it was asked to retain one.
  const bool written = marks_->leaves.count(tensor.unsafeGetTensorImpl()) > 0 ||
                       (marks_->backwards > 0 && tensor.retains_grad());
  require(!written, "INPUT", "a backward is adding to this tensor's gradient: await it first");
}

}  // namespace gradcache::binding
