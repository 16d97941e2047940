#include "model/parameters.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "core/error.h"

namespace gradcache {

namespace {
constexpr int64_t kAlignment = 64;  // elements: 128 bytes in bf16, what vector loads and matrix kernels like
constexpr int64_t kMostElements = int64_t{1} << 50;  // of one encoder: far from where sums and bytes wrap

int64_t product(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  return count;
}

// The number of elements including this parameter.
int64_t countedWith(const ParameterSpec& spec, int64_t elements) {
  int64_t left = kMostElements - elements;
  for (int64_t extent : spec.shape) left /= extent;
  require(left > 0, "OUT_OF_MEMORY", "with parameter ", spec.name, " of shape ", c10::IntArrayRef(spec.shape),
          " the encoder has more than 2^50 weights");
  return elements + product(spec.shape);
}

int64_t elementsWith(const std::vector<int64_t>& shape, const Room& room) {
  return room.none() ? product(shape) : (shape[0] + room.rows) * (shape[1] + room.columns);
}

int64_t aligned(int64_t end) { return (end + kAlignment - 1) / kAlignment * kAlignment; }
}  // namespace

ParameterId ParameterList::add(std::vector<ParameterSpec> joined) {
  Group group{specs_.size(), joined.size(), joined.front().shape};
  group.shape[0] = 0;
  for (ParameterSpec& spec : joined) {
    elements_ = countedWith(spec, elements_);
    spec.trainable = !training_.frozen.contains(spec.name);
    anyTrainable_ |= spec.trainable;
    group.shape[0] += spec.shape[0];
    specs_.push_back(std::move(spec));
    const ParameterSpec& first = specs_[group.first];
    ParameterSpec& last = specs_.back();
    require(last.trainable == first.trainable || last.shape.size() == 1, "INPUT", "'", first.name, "' and '",
            last.name, "' are one matrix here: both are frozen or neither");
    group.trainable |= last.trainable;
    group.wide |= last.wide;
    last.byRows = training_.rowGradients && last.lookedUp && last.trainable;
    group.byRows |= last.byRows;
  }
  groups_.push_back(std::move(group));
  return groups_.size() - 1;
}

void ParameterList::makeRoom(ParameterId matrix, const Room& room) {
  Group& group = groups_[matrix];
  group.room = room;
  elements_ += elementsWith(group.shape, room) - product(group.shape);
}

std::optional<AdapterOptions> ParameterList::takeAdapter(const std::string& name) {
  auto found = training_.adapters.extract(name);
  return found ? std::optional(found.mapped()) : std::nullopt;
}

ParameterId ParameterList::named(const std::string& name) const {
  const auto found = std::ranges::find_if(
      groups_, [&](const Group& group) { return group.count == 1 && specs_[group.first].name == name; });
  require(found != groups_.end(), "INPUT", "there is no parameter '", name, "'");
  require(
      !found->byRows, "INPUT", "'", name,
      "' is also the matrix that gives every word a score, so that its gradient is dense; embeddingGradients "
      "'dense' is needed");
  return static_cast<ParameterId>(found - groups_.begin());
}

Parameters::Parameters(ParameterList list, at::ScalarType compute, at::Device device)
    : specs_(std::move(list.specs_)), compute_(compute) {
  std::unordered_set<std::string> names;
  for (const ParameterSpec& spec : specs_) {
    require(names.insert(spec.name).second, "INPUT", "two parameters are named '", spec.name, "'");
  }
  require(list.training_.adapters.empty(), "INPUT", "there is no linear layer '",
          list.training_.adapters.empty() ? "" : list.training_.adapters.begin()->first, "' to adapt");
  int64_t end = 0, narrowEnd = 0, gradientEnd = 0, discarded = 0;
  for (ParameterList::Group& group : list.groups_) {
    const bool narrow = (!group.trainable || list.training_.narrowWeights) && !group.wide;
    int64_t& valuesEnd = narrow ? narrowEnd : end;
    valuesEnd = aligned(valuesEnd);
    gradientEnd = aligned(gradientEnd);
    const int64_t elements = elementsWith(group.shape, group.room);
    views_.push_back({group.first,
                      narrow,
                      valuesEnd,
                      elements,
                      gradientEnd,
                      std::move(group.shape),
                      {},
                      {},
                      group.room,
                      std::move(group.placed),
                      {}});
    valuesEnd += elements;
    if (group.trainable) {
      if (!group.byRows) gradientEnd += elements;
    } else if (views_.back().shape.size() == 1) {
      discarded = std::max(discarded, elements);
    }
  }
  at::NoGradGuard withoutGraph;
  const auto options =
      at::TensorOptions().dtype(compute == at::kDouble ? at::kDouble : at::kFloat).device(device);
  flatValues_ = at::zeros({end}, options);
  flatNarrow_ = at::zeros({narrowEnd}, options.dtype(compute));
  flatGradients_ = at::zeros({gradientEnd}, options);
  const at::Tensor nowhere = at::zeros({discarded}, options);
  for (size_t id = 0; id < views_.size(); ++id) {
    View& view = views_[id];
    if (list.groups_[id].trainable && !list.groups_[id].byRows) {
      view.gradient = flatGradients_.narrow(0, view.gradientOffset, view.elements).view(view.shape);
    } else if (!list.groups_[id].trainable && view.shape.size() == 1) {
      view.gradient = nowhere.narrow(0, 0, view.elements);
    }
    int64_t row = 0;
    const at::Tensor all = view.in(view.narrow ? flatNarrow_ : flatValues_);
    for (size_t k = view.first; k < view.first + list.groups_[id].count; ++k) {
      const int64_t rows = specs_[k].shape[0];
      const bool trainable = specs_[k].trainable;
      at::Tensor value = all.narrow(0, row, rows).detach();
      value.requires_grad_(trainable);
      if (trainable && !specs_[k].byRows) value.mutable_grad() = view.gradient.narrow(0, row, rows).detach();
      values_.push_back(std::move(value));
      row += rows;
    }
  }
  viewIn(flatNarrow_, true);
  if (flatValues_.scalar_type() == compute_) viewIn(flatValues_, false);
}

int64_t Parameters::gradientsBehind(size_t count) const {
  return count < views_.size() ? views_[count].gradientOffset : flatGradients_.numel();
}

at::Tensor Parameters::View::in(const at::Tensor& flat) const {
  return room.none() ? flat.narrow(0, offset, elements).view(shape)
                     : withRoomIn(flat).narrow(0, 0, shape[0]).narrow(1, 0, shape[1]);
}

at::Tensor Parameters::View::withRoomIn(const at::Tensor& flat) const {
  return flat.narrow(0, offset, elements).view({shape[0] + room.rows, shape[1] + room.columns});
}

void Parameters::viewIn(const at::Tensor& flat, bool narrow) {
  for (View& view : views_) {
    if (view.narrow != narrow) continue;
    view.compute = view.in(flat);
    if (!view.room.none()) view.withRoom = view.withRoomIn(flat);
  }
}

at::Tensor Parameters::withRoom(ParameterId id) {
  if (views_[id].room.none()) return {};
  if (placedVersion_ != version()) {
    const at::NoGradGuard withoutGraph;
    // What is placed is no new weight: the version stays.
    const at::AutoDispatchBelowADInplaceOrView unversioned;
    for (const View& view : views_) {
      for (const Placed& placed : view.placed) {
        // In the wide type, so that the scale is not rounded and the product is rounded once.
        const View& whole = views_[placed.source];
        const at::Tensor source =
            whole.in(whole.narrow ? flatNarrow_ : flatValues_).to(flatGradients_.scalar_type());
        at::Tensor target =
            view.withRoom.narrow(0, placed.row, source.size(0)).narrow(1, placed.column, source.size(1));
        at::mul_out(target, source, at::scalar_tensor(placed.scale, source.options().device(at::kCPU)));
      }
    }
    placedVersion_ = version();
  }
  return views_[id].withRoom;
}

at::Tensor Parameters::compute(ParameterId id) {
  if (flatValues_.scalar_type() != compute_ && castVersion_ != flatValues_._version()) {
    const int64_t casting = flatValues_._version();
    viewIn(flatValues_.to(compute_), false);
    castVersion_ = casting;
  }
  return views_[id].compute;
}

}  // namespace gradcache
