// A language model: word vectors, recurrent blocks, a softmax over the vocabulary. It reads segments of
// several texts, a text a row, and hands what the next segment starts from.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <optional>
#include <vector>

#include "core/settings.h"
#include "language/embedding.h"
#include "language/penalties.h"
#include "language/sampling.h"
#include "language/softmax_head.h"
#include "model/builder.h"
#include "model/mode.h"
#include "model/parameters.h"

namespace gradcache {

// What a segment starts from and what it hands on.
struct SegmentState {
  std::vector<at::Tensor> state;    // by slot of this kind: [rows, width], float32 (float64)
  std::vector<at::Tensor> memory;   // by slot of this kind: [rows, remembered, width], in the compute type
  std::vector<int64_t> remembered;  // [rows]: how many rows of memory are of the row's own text; empty: all
};

struct Segment {
  std::vector<int32_t> inputs;   // [rows, length], row after row
  std::vector<int32_t> targets;  // the same; -1: the token is not scored. Empty: no token is
  int64_t rows = 0;
  SegmentState before;
  int64_t memory = 0;  // the most rows of memory to hand on
  int64_t window = 0;  // to how many tokens before its own a token attends; 0: to all
};

class SegmentGraph;

struct SegmentResult {
  at::Tensor losses;   // [rows * length]: negative log-likelihood of each target, 0 without one
  double loss = 0;     // their sum
  double penalty = 0;  // what the objective has beside it, as Penalties::value
  SegmentState after;
  std::shared_ptr<SegmentGraph> graph;  // null without one
};

class LanguageModel : public std::enable_shared_from_this<LanguageModel> {
 public:
  LanguageModel(const Settings& settings, at::ScalarType compute, at::Device device);

  SegmentResult forward(Segment segment, uint64_t seed, Mode mode) const;
  // Reads a segment without dropout and draws the token after it in each row, with a number from [0, 1) for
  // each.
  std::pair<std::vector<int32_t>, SegmentState> next(Segment segment, const Sampling& sampling,
                                                     const std::vector<double>& numbers) const;

  Parameters& parameters() const { return *parameters_; }
  const std::vector<CarriedSlot>& slots() const { return slots_; }
  at::ScalarType stateType() const { return compute_ == at::kDouble ? at::kDouble : at::kFloat; }
  // Bytes that a graph of so many rows of so many tokens keeps until its backward.
  int64_t graphBytes(int64_t rows, int64_t length) const;

 private:
  friend class SegmentGraph;
  void check(const Segment& segment) const;
  // One tensor for each slot of this kind.
  void checkSlots(const char* what, const std::vector<at::Tensor>& tensors, CarriedKind kind,
                  int64_t rows) const;
  std::shared_ptr<const Pass> pass(const Segment& segment, uint64_t seed, bool dropout) const;
  // The last block's rows. `tapes` is null without a graph.
  Stream walk(const ClusteredIds& ids, const Pass& pass, std::vector<Tape>* tapes) const;
  SegmentState after(const Segment& segment, const Pass& pass) const;

  at::ScalarType compute_;
  at::Device device_;
  int64_t width_ = 0;  // of the last block's rows
  std::vector<Cluster> clusters_;
  std::optional<Embedding> embedding_;
  std::vector<BuiltBlock> blocks_;
  std::optional<RowDropout> outputDropout_;
  std::optional<SoftmaxHead> head_;
  Penalties penalties_;
  std::vector<CarriedSlot> slots_;
  std::shared_ptr<Parameters> parameters_;
};

// A segment that was read with a graph.
class SegmentGraph {
 public:
  // Adds to the parameters' gradients that of seed * (loss + penalty) + <stateGradient, after.state>. Returns
  // the gradient of the state before. Once; throws INPUT after that, or when the weights have changed.
  std::vector<at::Tensor> backward(double seed, std::vector<at::Tensor> stateGradient);
  at::Device device() const { return model_->device_; }

 private:
  friend class LanguageModel;
  std::shared_ptr<const LanguageModel> model_;
  std::shared_ptr<const Pass> pass_;  // null: used
  ClusteredIds inputs_, targets_;
  std::vector<Tape> tapes_;
  Stream output_;  // of the last block
  std::vector<at::Tensor> normalizers_;
};

}  // namespace gradcache
