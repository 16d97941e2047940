#include "core/recorded.h"

#include <memory>
#include <type_traits>
#include <utility>

#include "core/error.h"
#include "core/products.h"

namespace gradcache {

namespace {

class RecordedBackward final : public torch::autograd::Node {
 public:
  explicit RecordedBackward(std::function<at::Tensor(const at::Tensor&)> backward)
      : backward_(std::move(backward)) {}

  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    require(static_cast<bool>(backward_), "INPUT", "this graph was already used for a backward and is gone");
    auto backward = std::exchange(backward_, nullptr);
    if (!gradients[0].defined()) return torch::autograd::variable_list(num_outputs());
    const ProductScope scope(products_);
    at::Tensor gradient = backward(gradients[0]);
    return num_outputs() == 0 ? torch::autograd::variable_list()
                              : torch::autograd::variable_list{std::move(gradient)};
  }

  void release_variables() override { backward_ = nullptr; }
  std::string name() const override { return "gradcache::RecordedBackward"; }

 private:
  std::function<at::Tensor(const at::Tensor&)> backward_;
  Products products_ = ProductScope::current();
};

// A graph's nodes are held by std::shared_ptr up to libtorch 2.12 and by c10::intrusive_ptr from 2.13 on.
using NodePointer = decltype(torch::autograd::Edge::function);

template <class Kind>
NodePointer makeNode(std::function<at::Tensor(const at::Tensor&)> backward) {
  if constexpr (std::is_same_v<NodePointer, std::shared_ptr<torch::autograd::Node>>) {
    return std::make_shared<Kind>(std::move(backward));
  } else {
    return c10::make_intrusive<Kind>(std::move(backward));
  }
}

}  // namespace

at::Tensor record(at::Tensor output, const at::Tensor& input,
                  std::function<at::Tensor(const at::Tensor&)> backward) {
  NodePointer node = makeNode<RecordedBackward>(std::move(backward));
  if (input.defined()) node->set_next_edges(torch::autograd::collect_next_edges(input));
  torch::autograd::create_gradient_edge(output, std::move(node));
  return output;
}

}  // namespace gradcache
