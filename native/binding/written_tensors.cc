#include "binding/written_tensors.h"

#include <ATen/EmptyTensor.h>

#include "core/error.h"

namespace gradcache::binding {

namespace {

// The caller's handle, the argument and the copy here.
constexpr size_t kOwnReferences = 3;

}  // namespace

WrittenTensors::WrittenTensors(const c10::OperatorHandle& handle, const torch::jit::Stack& arguments)
    : handle_(handle), exchanges_(handle.hasTag(at::Tag::inplace_view)) {
  const c10::FunctionSchema& schema = handle.schema();
  const bool count = schema.returns().empty() &&
                     !handle.hasKernelForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd);
  for (size_t k = 0; k < arguments.size(); ++k) {
    const c10::Argument& argument = schema.arguments()[k];
    if (argument.alias_info() == nullptr || !argument.alias_info()->isWrite()) continue;
    exchanges_ = exchanges_ || argument.is_out();  // an operator resizes what is to hold its result
    if (arguments[k].isTensor()) add(arguments[k].toTensor(), count);
    if (arguments[k].isTensorList())
      for (const at::Tensor& tensor : arguments[k].toTensorVector()) add(tensor, count);
  }
}

void WrittenTensors::add(const at::Tensor& tensor, bool count) {
  if (!tensor.defined()) return;
  Before before;
  before.tensor = tensor;
  if (count && !tensor.is_inference()) before.version = tensor._version();
  before.strided = tensor.layout() == at::kStrided && tensor.has_storage();
  if (before.strided) {
    before.sizes = tensor.sizes().vec();
    before.strides = tensor.strides().vec();
    before.offset = tensor.storage_offset();
  }
  before_.push_back(std::move(before));
}

WrittenTensors::~WrittenTensors() {
  for (const Before& before : before_)
    if (before.version >= 0 && before.tensor._version() == before.version)
      before.tensor.unsafeGetTensorImpl()->bump_version();
}

void WrittenTensors::refuseExchange() const {
  if (!exchanges_) return;
  for (const Before& before : before_) {
    const bool shared = before.tensor.use_count() > kOwnReferences ||
                        (before.strided && before.tensor.storage().use_count() > 1);
    require(!shared, "INPUT", handle_.schema().name(),
            " may exchange the memory of a tensor that work under way may be using: await that first");
  }
}

void WrittenTensors::putBackShapes() const {
  for (const auto& [tensor, version, strided, sizes, strides, offset] : before_) {
    if (!strided) continue;
    if (tensor.sizes() == sizes && tensor.strides() == strides && tensor.storage_offset() == offset) continue;
    const size_t needed = at::detail::computeStorageNbytes(sizes, strides, tensor.itemsize(), offset);
    if (needed <= tensor.storage().nbytes())
      tensor.unsafeGetTensorImpl()->set_sizes_and_strides(sizes, strides, offset);
    else
      tensor.unsafeGetTensorImpl()->set_sizes_and_strides(c10::IntArrayRef{0}, c10::IntArrayRef{1}, 0);
  }
}

}  // namespace gradcache::binding
