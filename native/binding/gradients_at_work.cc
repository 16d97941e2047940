#include "binding/gradients_at_work.h"

#include <torch/csrc/autograd/functions/accumulate_grad.h>

#include <unordered_set>
#include <utility>

#include "core/error.h"

namespace gradcache::binding {

std::vector<at::Tensor> leavesBelow(const std::vector<at::Tensor>& roots) {
  namespace autograd = torch::autograd;
  std::vector<at::Tensor> leaves;
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
    const auto* leaf = dynamic_cast<const autograd::AccumulateGrad*>(node);
    if (leaf != nullptr) leaves.push_back(leaf->variable);
    for (const autograd::Edge& edge : node->next_edges()) open.push_back(edge.function.get());
  }
  return leaves;
}

std::shared_ptr<void> GradientsAtWork::mark(std::vector<at::Tensor> leaves) {
  for (const at::Tensor& leaf : leaves) ++marks_->leaves[leaf.unsafeGetTensorImpl()];
  ++marks_->backwards;
  // The tensors are held, so that no other one comes to lie where a marked one was.
  return {nullptr, [marks = marks_, held = std::move(leaves)](void*) {
            --marks->backwards;
            for (const at::Tensor& leaf : held) {
              const auto found = marks->leaves.find(leaf.unsafeGetTensorImpl());
              if (--found->second == 0) marks->leaves.erase(found);
            }
          }};
}

void GradientsAtWork::refuse(const at::Tensor& tensor) const {
  // A tensor in the middle of a graph has a gradient where it was asked to retain it.
  const bool written = marks_->leaves.count(tensor.unsafeGetTensorImpl()) > 0 ||
                       (marks_->backwards > 0 && tensor.retains_grad());
  require(!written, "INPUT", "a backward is adding to this tensor's gradient: await it first");
}

}  // namespace gradcache::binding
