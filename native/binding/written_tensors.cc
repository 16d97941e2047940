#include "binding/written_tensors.h"

#include <ATen/EmptyTensor.h>
#include <c10/util/Exception.h>

#include <utility>

#include "core/error.h"

namespace gradcache::binding {

namespace {

// The caller's handle, the argument and the copy here.
constexpr size_t kOwnReferences = 3;

class NoWarnings final : public c10::WarningHandler {
  void process(const c10::Warning&) override {}
};

// A tensor of the same shape without memory; a number is kept, its value may decide the shape of a result.
at::Tensor withoutMemory(const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.unsafeGetTensorImpl()->is_wrapped_number()) return tensor;
  return at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options().device(at::kMeta));
}

c10::IValue withoutMemory(const c10::IValue& value) {
  if (value.isTensor()) return withoutMemory(value.toTensor());
  if (!value.isTensorList()) return value;
  c10::List<at::Tensor> list;
  for (const at::Tensor& tensor : value.toTensorVector()) list.push_back(withoutMemory(tensor));
  return list;
}

bool samePlace(const at::Tensor& tensor, const at::Tensor& before) {
  return tensor.sizes() == before.sizes() && tensor.strides() == before.strides() &&
         tensor.storage_offset() == before.storage_offset() && tensor.storage().is_alias_of(before.storage());
}

}  // namespace

WrittenTensors::WrittenTensors(const c10::OperatorHandle& handle, const torch::jit::Stack& arguments)
    : handle_(handle), reshapes_(handle.hasTag(at::Tag::inplace_view)), exchanges_(reshapes_) {
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
    before.sizes = c10::DimVector(tensor.sizes());
    before.strides = c10::DimVector(tensor.strides());
    before.offset = tensor.storage_offset();
  }
  before_.push_back(std::move(before));
}

WrittenTensors::~WrittenTensors() {
  for (const Before& before : before_)
    if (before.version >= 0 && before.tensor._version() == before.version)
      before.tensor.unsafeGetTensorImpl()->bump_version();
}

bool WrittenTensors::reshapesWithoutMemory(const torch::jit::Stack& arguments) const {
  const at::NoGradGuard withoutGraph;
  NoWarnings none;
  const c10::WarningUtils::WarningHandlerGuard quiet(&none);
  try {
    torch::jit::Stack trial;
    std::vector<std::pair<at::Tensor, at::Tensor>> written;  // the tensor, and one that keeps what it was
    for (size_t k = 0; k < arguments.size(); ++k) {
      trial.push_back(withoutMemory(arguments[k]));
      const c10::AliasInfo* alias = handle_.schema().arguments()[k].alias_info();
      if (alias == nullptr || !alias->isWrite() || !trial[k].isTensor()) continue;
      written.emplace_back(trial[k].toTensor(), trial[k].toTensor().alias());
    }
    std::vector<size_t> bytes;
    for (const auto& [tensor, before] : written) bytes.push_back(tensor.storage().nbytes());
    handle_.callBoxed(trial);
    for (size_t k = 0; k < written.size(); ++k)
      if (!samePlace(written[k].first, written[k].second) || written[k].first.storage().nbytes() != bytes[k])
        return true;
    return false;
  } catch (...) {
    return true;  // the operator has no such trial, or refuses its arguments
  }
}

bool WrittenTensors::wantsFreshResults(const torch::jit::Stack& arguments) const {
  if (!exchanges_) return false;
  bool shared = false, inGraph = false, strided = true;
  for (const Before& before : before_) {
    const bool held = before.tensor.use_count() > kOwnReferences;
    strided = strided && before.strided;
    shared = shared || held || (before.strided && before.tensor.storage().use_count() > 1);
    inGraph = inGraph || (held && before.tensor.requires_grad());
  }
  // detach_ keeps the shape, but removes what a running backward may be reading.
  if (inGraph && reshapes_) refuseExchange();
  if (!shared) return false;
  // Operators on values are not tried: without memory, some end the process instead of refusing their
  // arguments.
  if (!strided || (reshapes_ && reshapesWithoutMemory(arguments))) refuseExchange();
  return !reshapes_;
}

void WrittenTensors::refuseExchange() const {
  fail("INPUT", handle_.schema().name(),
       " may exchange the memory of a tensor that work under way may be using: await that first, or take a "
       "new "
       "result and copy it there with copyFrom()");
}

void WrittenTensors::putBackShapes() const {
  for (const auto& [tensor, version, strided, sizes, strides, offset] : before_) {
    if (!strided) continue;
    const c10::IntArrayRef extents(sizes), steps(strides);
    if (tensor.sizes() == extents && tensor.strides() == steps && tensor.storage_offset() == offset) continue;
    const size_t needed = at::detail::computeStorageNbytes(extents, steps, tensor.itemsize(), offset);
    if (needed <= tensor.storage().nbytes())
      tensor.unsafeGetTensorImpl()->set_sizes_and_strides(extents, steps, offset);
    else
      tensor.unsafeGetTensorImpl()->set_sizes_and_strides(c10::IntArrayRef{0}, c10::IntArrayRef{1}, 0);
  }
}

}  // namespace gradcache::binding
