// The parameters of one encoder in two flat buffers, of the wide type and of the type that computes, and the
// gradients of the trained ones in a third, which is wide. Casting all weights, or clearing or copying all
// gradients, is one operation, and matrices of one product are adjacent. A table of words can have a gradient
// of its own, of the rows that texts have.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

namespace gradcache {

// What a parameter holds before training.
struct Initial {
  enum class Kind {
    kUsual,     // a matrix is normal with the model's deviation, the scale of a norm is 1, all else is 0
    kUniform,   // from -value to value
    kConstant,  // value
  };
  Kind kind = Kind::kUsual;
  double value = 0;

  static Initial uniform(double bound) { return {Kind::kUniform, bound}; }
  static Initial constant(double value) { return {Kind::kConstant, value}; }
  // Of a matrix [out, in] (Glorot & Bengio 2010), times `gain`.
  static Initial xavier(int64_t in, int64_t out, double gain = 1) {
    return uniform(gain * std::sqrt(6.0 / static_cast<double>(in + out)));
  }
};

struct ParameterSpec {
  std::string name;  // as in the Hugging Face checkpoint
  std::vector<int64_t> shape;
  bool decay = true;  // weight decay applies: false for biases and norms
  Initial initial{};
  bool trainable = true;  // else it is frozen: it has no gradient
  bool linear = false;    // the matrix of a Linear, which can have an adapter
  // Used in the type of the weights, so that it is kept in it even if it is frozen.
  bool wide = false;
  bool lookedUp = false;  // a table of words, of which a pass reads the rows of its tokens
  bool byRows = false;    // set where it is declared: its gradient is of the rows that tokens had
};

// A low-rank adapter of a linear layer (LoRA, Hu et al. 2021): W x + scale * B A drop(x).
struct AdapterOptions {
  int64_t rank = 1;
  double scale = 1, dropout = 0;
};

// What of a model is trained.
struct Training {
  std::unordered_set<std::string> frozen{};          // names of parameters
  std::map<std::string, AdapterOptions> adapters{};  // by the name of the layer, without ".weight"
  bool rowGradients = false;                         // those of tables that are looked up are of rows
  bool narrowWeights =
      false;  // trained weights are in the compute type too: what is wider is the optimizer's
};

// Identifies a declared parameter, or several declared as one.
using ParameterId = size_t;

// Rows below those of a matrix, and columns behind them.
struct Room {
  int64_t rows = 0, columns = 0;

  bool none() const { return rows == 0 && columns == 0; }
};

// Where scale * a matrix is read as a part of a larger one.
struct Placed {
  ParameterId source;
  int64_t row, column;  // its first, of the matrix and its room
  double scale;
};

// The declarations, before memory is allocated.
class ParameterList {
 public:
  explicit ParameterList(Training training) : training_(std::move(training)) {}

  // Several are stored end to end and read as one, stacked along the first dimension. Matrices are frozen
  // together; of vectors some may be, as biases whose layers are adapted.
  ParameterId add(std::vector<ParameterSpec> joined);
  // The adapter that the layer of this name is to have. Asked for once, by the layer.
  std::optional<AdapterOptions> takeAdapter(const std::string& name);
  // Whether it is stored in the compute type alone.
  bool isFrozen(ParameterId id) const { return !groups_[id].trainable && !groups_[id].wide; }
  // Makes room beside a frozen matrix, zeros at first.
  void makeRoom(ParameterId matrix, const Room& room);
  // Has scale * the values of another matrix placed in that room, anew whenever a weight has changed.
  void place(ParameterId matrix, const Placed& placed) { groups_[matrix].placed.push_back(placed); }
  // Another number for the dropout of each adapter, apart from those of the blocks' places: an adapter
  // changes no masks of these.
  uint64_t adapterSite() { return kAdapterSites + adapterSites_++; }
  // What was declared alone under this name, to be used as a whole. Throws INPUT where nothing was, and for a
  // table whose gradient is of rows.
  ParameterId named(const std::string& name) const;
  bool anyTrainable() const { return anyTrainable_; }
  // Of those that are read as one.
  size_t size() const { return groups_.size(); }

 private:
  friend class Parameters;
  struct Group {
    size_t first, count;  // of the specs
    std::vector<int64_t> shape;
    bool trainable = false, wide = false;  // any of them
    bool byRows = false;
    Room room{};
    std::vector<Placed> placed{};
  };

  static constexpr uint64_t kAdapterSites = uint64_t{1} << 32;

  Training training_;
  uint64_t adapterSites_ = 0;
  bool anyTrainable_ = false;
  int64_t elements_ = 0;
  std::vector<ParameterSpec> specs_;
  std::vector<Group> groups_;
};

class Parameters {
 public:
  // Weights that are trained, and gradients, are float32 (float64 for float64). Frozen weights, and narrow
  // ones, are in the compute type.
  Parameters(ParameterList list, at::ScalarType compute, at::Device device);

  size_t size() const { return specs_.size(); }
  const ParameterSpec& spec(size_t index) const { return specs_[index]; }
  // A leaf that shares a flat buffer; `value.grad()` is the gradient's view, undefined if frozen. By rows: a
  // sparse tensor, whose indices are sorted and stand in it once, or undefined before the first backward.
  const at::Tensor& value(size_t index) const { return values_[index]; }
  const at::Tensor& leaf(ParameterId id) const { return values_[views_[id].first]; }

  // In the compute type. All trained parameters that are wider are cast at once after a weight has changed.
  at::Tensor compute(ParameterId id);
  // A frozen matrix with its room, filled; undefined where it has none.
  at::Tensor withRoom(ParameterId id);
  // A backward adds to it. Undefined for a frozen matrix and a table whose gradient is of rows; for a frozen
  // vector, unused memory, because the kernels always sum vectors.
  const at::Tensor& gradient(ParameterId id) const { return views_[id].gradient; }

  bool isByRows(ParameterId id) const { return specs_[views_[id].first].byRows; }
  const at::Tensor& flatGradients() const { return flatGradients_; }
  // The element of the flat gradients behind those of the first `count` declared.
  int64_t gradientsBehind(size_t count) const;
  // Changes whenever any weight is written in place.
  int64_t version() const { return flatValues_._version() + flatNarrow_._version(); }

 private:
  struct View {
    size_t first;
    bool narrow;  // in the buffer of the compute type
    int64_t offset, elements;
    int64_t gradientOffset;
    std::vector<int64_t> shape;
    at::Tensor compute, gradient;
    Room room;
    std::vector<Placed> placed;
    at::Tensor withRoom;

    at::Tensor in(const at::Tensor& flat) const;
    at::Tensor withRoomIn(const at::Tensor& flat) const;
  };
  void viewIn(const at::Tensor& flat, bool narrow);

  std::vector<ParameterSpec> specs_;
  at::Tensor flatValues_, flatNarrow_, flatGradients_;
  at::ScalarType compute_;
  int64_t castVersion_ = -1, placedVersion_ = -1;
  std::vector<at::Tensor> values_;
  std::vector<View> views_;
};

}  // namespace gradcache
