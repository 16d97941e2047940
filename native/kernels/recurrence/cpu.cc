// A task is a block of one direction's columns of one sequence: it walks over the tokens, and each token is a
// loop over the columns that vectorises. What a recurrence lacks (weights, a skip, a mask) is a row of zeros
// or ones, so that there is one loop with a reset gate and one without.
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <vector>

#include "kernels/cpu/partial_sums.h"
#include "kernels/cpu/simd.h"
#include "kernels/recurrence/versions.h"

namespace gradcache::kernels::cpu {

namespace {

constexpr int64_t kBlock = 128;  // columns of a task: its rows lie in the first cache
constexpr int64_t kGroups = 16;  // of sequences, whose parameter gradients are added up apart

template <class T>
using Row = std::array<T, kBlock>;

template <class T>
GRADCACHE_INLINE T sigmoid(T x) {
  return T(1) / (T(1) + exponential(-x));
}
template <class T>
GRADCACHE_INLINE T hyperbolicTangent(T x) {
  return T(2) * sigmoid(T(2) * x) - T(1);
}

template <class T>
struct Arguments {
  const T *u, *skip, *cellWeights, *bias, *state;  // all but u may be null
  const int64_t* offsets;
  int64_t width, own;  // columns of the output, and of one direction
  RecurrenceOptions options;

  // The forward needs these. `cells` may be null.
  T *h = nullptr, *cells = nullptr, *last = nullptr;

  // The backward needs these. dlast and dskip may be null.
  const T *dh = nullptr, *dlast = nullptr, *savedCells = nullptr;
  T *du = nullptr, *dskip = nullptr, *dstate = nullptr;
};

// A block's columns [from, from + count) of the output, and what they are multiplied with and added to.
template <class T>
struct Block {
  int64_t from, count, uFrom, uStride;  // uFrom: of the candidate in a row of u; uStride: from gate to gate
  bool reverse;
  Row<T> forgetWeight{}, resetWeight{}, forgetBias{}, resetBias{};
  Row<T> mask, zeros{};

  GRADCACHE_INLINE Block(const Arguments<T>& a, int64_t number) {
    const int64_t blocks = (a.own + kBlock - 1) / kBlock, way = number / blocks;
    const int64_t start = number % blocks * kBlock;
    from = way * a.own + start;
    count = std::min(kBlock, a.own - start);
    uFrom = way * a.options.projections * a.own + start;
    uStride = a.own;
    reverse = a.options.direction == Direction::kReverse || way == 1;
    const bool reset = a.options.projections > 2;
    if (a.cellWeights) copy(a.cellWeights + from, forgetWeight);
    if (a.cellWeights && reset) copy(a.cellWeights + a.width + from, resetWeight);
    if (a.bias) copy(a.bias + from, forgetBias);
    if (a.bias && reset) copy(a.bias + a.width + from, resetBias);
    mask.fill(T(1));
  }
  GRADCACHE_INLINE void copy(const T* source, Row<T>& row) const {
    std::copy(source, source + count, row.begin());
  }
  // Sets the mask's factors to those of a row of the key.
  GRADCACHE_INLINE void drop(const DropoutKey& key, int64_t row) {
    const uint32_t start = dropoutRow(key, static_cast<uint32_t>(row));
    const T scale = static_cast<T>(key.scale);
    for (int64_t c = 0; c < count; ++c) {
      const uint32_t column = static_cast<uint32_t>(from + c), bits = dropoutPair(start, column >> 1);
      mask[c] = ((bits >> (column % 2 * 16)) & 0xffffu) >= key.threshold ? scale : T(0);
    }
  }
};

// What one token is computed from.
template <class T>
struct Token {
  const T *candidate, *forget, *reset, *skip;
  Row<T> squashed, scaled;

  GRADCACHE_INLINE void read(const Arguments<T>& a, const Block<T>& b, int64_t token) {
    const RecurrenceOptions& options = a.options;
    const T* const u = a.u + token * options.projections * a.width + b.uFrom;
    candidate = u;
    forget = u + b.uStride;
    reset = u + 2 * b.uStride;
    if (options.tanhCandidate) {
#pragma omp simd
      for (int64_t c = 0; c < b.count; ++c) squashed[c] = hyperbolicTangent(u[c]);
      candidate = squashed.data();
    }
    skip = options.projections > 3 ? u + 3 * b.uStride : a.skip ? a.skip + token * a.width + b.from : nullptr;
    if (!skip) {
      skip = b.zeros.data();
    } else if (options.skipScale != 1) {
      const T scale = static_cast<T>(options.skipScale);
#pragma omp simd
      for (int64_t c = 0; c < b.count; ++c) scaled[c] = scale * skip[c];
      skip = scaled.data();
    }
  }
};

template <class T>
GRADCACHE_INLINE void forwardBlock(const Arguments<T>& a, int64_t sequence, int64_t number) {
  Block<T> b(a, number);
  Token<T> x;
  Row<T> cell{};
  const DropoutKey& key = a.options.mask;
  const int64_t begin = a.offsets[sequence], end = a.offsets[sequence + 1];
  const bool reset = a.options.projections > 2, maskPerToken = key.active() && a.options.maskPerToken;
  if (a.state) b.copy(a.state + sequence * a.width + b.from, cell);
  if (key.active() && !maskPerToken) b.drop(key, sequence);
  for (int64_t step = 0; step < end - begin; ++step) {
    const int64_t token = b.reverse ? end - 1 - step : begin + step;
    x.read(a, b, token);
    if (maskPerToken) b.drop(key, token);
    T* const h = a.h + token * a.width + b.from;
    if (reset) {
#pragma omp simd
      for (int64_t c = 0; c < b.count; ++c) {
        const T before = cell[c], z = x.candidate[c], skip = x.skip[c];
        const T f = sigmoid(x.forget[c] + b.forgetWeight[c] * before + b.forgetBias[c]);
        const T r = sigmoid(x.reset[c] + b.resetWeight[c] * before + b.resetBias[c]);
        const T now = z + f * (before - z);
        cell[c] = now;
        h[c] = b.mask[c] * r * (now - skip) + skip;
      }
    } else {
#pragma omp simd
      for (int64_t c = 0; c < b.count; ++c) {
        const T before = cell[c], z = x.candidate[c];
        const T f = sigmoid(x.forget[c] + b.forgetWeight[c] * before + b.forgetBias[c]);
        const T now = z + f * (before - z);
        cell[c] = now;
        h[c] = b.mask[c] * now;
      }
    }
    if (a.cells) std::copy(cell.begin(), cell.begin() + b.count, a.cells + token * a.width + b.from);
  }
  std::copy(cell.begin(), cell.begin() + b.count, a.last + sequence * a.width + b.from);
}

// The gradients of a block's parameters, added up over sequences.
template <class T>
struct Sums {
  Row<T> forgetWeight{}, resetWeight{}, forgetBias{}, resetBias{};
};

template <class T>
GRADCACHE_INLINE void backwardSequence(const Arguments<T>& a, int64_t sequence, Block<T>& b, Sums<T>& sums) {
  Token<T> x;
  Row<T> running{}, start{}, unused;  // running: dL/dc from later tokens
  const DropoutKey& key = a.options.mask;
  const int64_t begin = a.offsets[sequence], end = a.offsets[sequence + 1];
  const bool reset = a.options.projections > 2, maskPerToken = key.active() && a.options.maskPerToken;
  const T scale = static_cast<T>(a.options.skipScale);
  if (a.state) b.copy(a.state + sequence * a.width + b.from, start);
  if (a.dlast) b.copy(a.dlast + sequence * a.width + b.from, running);
  if (key.active() && !maskPerToken) b.drop(key, sequence);
  for (int64_t step = end - begin - 1; step >= 0; --step) {
    const int64_t token = b.reverse ? end - 1 - step : begin + step;
    x.read(a, b, token);
    if (maskPerToken) b.drop(key, token);
    const int64_t at = token * a.width + b.from;
    const T* const cells = a.savedCells + at;
    const T* const earlier = step == 0 ? start.data() : cells + (b.reverse ? a.width : -a.width);
    const T* const dh = a.dh + at;
    T* const du = a.du + token * a.options.projections * a.width + b.uFrom;
    T* const dforget = du + b.uStride;
    if (reset) {
      T* const dreset = du + 2 * b.uStride;
      T* const dskip = a.options.projections > 3 ? du + 3 * b.uStride
                       : a.dskip                 ? a.dskip + at
                                                 : unused.data();
#pragma omp simd
      for (int64_t c = 0; c < b.count; ++c) {
        const T before = earlier[c], z = x.candidate[c];
        const T f = sigmoid(x.forget[c] + b.forgetWeight[c] * before + b.forgetBias[c]);
        const T r = sigmoid(x.reset[c] + b.resetWeight[c] * before + b.resetBias[c]);
        const T masked = b.mask[c] * dh[c], through = masked * r;
        const T dr = through * (cells[c] - x.skip[c]) * (T(1) - r);
        const T dc = through + running[c];
        const T df = dc * (before - z) * f * (T(1) - f);
        running[c] = dc * f + df * b.forgetWeight[c] + dr * b.resetWeight[c];
        du[c] = dc * (T(1) - f);
        dforget[c] = df;
        dreset[c] = dr;
        dskip[c] = scale * (dh[c] - through);
        sums.forgetWeight[c] += df * before;
        sums.resetWeight[c] += dr * before;
        sums.forgetBias[c] += df;
        sums.resetBias[c] += dr;
      }
    } else {
#pragma omp simd
      for (int64_t c = 0; c < b.count; ++c) {
        const T before = earlier[c], z = x.candidate[c];
        const T f = sigmoid(x.forget[c] + b.forgetWeight[c] * before + b.forgetBias[c]);
        const T dc = b.mask[c] * dh[c] + running[c];
        const T df = dc * (before - z) * f * (T(1) - f);
        running[c] = dc * f + df * b.forgetWeight[c];
        du[c] = dc * (T(1) - f);
        dforget[c] = df;
        sums.forgetWeight[c] += df * before;
        sums.forgetBias[c] += df;
      }
    }
    if (a.options.tanhCandidate) {
#pragma omp simd
      for (int64_t c = 0; c < b.count; ++c) du[c] *= T(1) - x.squashed[c] * x.squashed[c];
    }
  }
  std::copy(running.begin(), running.begin() + b.count, a.dstate + sequence * a.width + b.from);
}

// `sums` is [2 gates, width]: gradients of the cell weights, then of the biases.
template <class T>
GRADCACHE_INLINE void backwardBlock(const Arguments<T>& a, int64_t first, int64_t last, int64_t number,
                                    T* sums) {
  Block<T> b(a, number);
  Sums<T> own;
  for (int64_t sequence = first; sequence < last; ++sequence) backwardSequence(a, sequence, b, own);
  const auto write = [&](const Row<T>& row, int64_t place) {
    std::copy(row.begin(), row.begin() + b.count, sums + place * a.width + b.from);
  };
  const bool reset = a.options.projections > 2;
  write(own.forgetWeight, 0);
  if (reset) write(own.resetWeight, 1);
  write(own.forgetBias, reset ? 2 : 1);
  if (reset) write(own.resetBias, 3);
}

GRADCACHE_CLONES void forwardTask(const Arguments<float>& a, int64_t sequence, int64_t number) {
  forwardBlock(a, sequence, number);
}
GRADCACHE_CLONES void forwardTask(const Arguments<double>& a, int64_t sequence, int64_t number) {
  forwardBlock(a, sequence, number);
}
GRADCACHE_CLONES void backwardTask(const Arguments<float>& a, int64_t first, int64_t last, int64_t number,
                                   float* sums) {
  backwardBlock(a, first, last, number, sums);
}
GRADCACHE_CLONES void backwardTask(const Arguments<double>& a, int64_t first, int64_t last, int64_t number,
                                   double* sums) {
  backwardBlock(a, first, last, number, sums);
}

template <class T>
const T* dataOrNull(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
}

template <class T>
Arguments<T> argumentsOf(const RecurrenceInputs& inputs, const Sequences& sequences,
                         const RecurrenceOptions& options) {
  const int64_t width = inputs.width(options), ways = options.direction == Direction::kBoth ? 2 : 1;
  return {inputs.u.const_data_ptr<T>(),
          dataOrNull<T>(inputs.skip),
          dataOrNull<T>(inputs.cellWeights),
          dataOrNull<T>(inputs.bias),
          dataOrNull<T>(inputs.state),
          sequences.offsets.data(),
          width,
          width / ways,
          options};
}
template <class T>
int64_t blocksOf(const Arguments<T>& a) {
  return a.width / a.own * ((a.own + kBlock - 1) / kBlock);
}
int64_t countOf(const Sequences& sequences) { return static_cast<int64_t>(sequences.offsets.size()) - 1; }

template <class T>
Recurrence forward(const RecurrenceInputs& inputs, const Sequences& sequences,
                   const RecurrenceOptions& options, bool save) {
  Arguments<T> a = argumentsOf<T>(inputs, sequences, options);
  const int64_t count = countOf(sequences), tokens = inputs.u.size(0), blocks = blocksOf(a);
  Recurrence result{
      at::empty({tokens, a.width}, inputs.u.options()), {}, at::empty({count, a.width}, inputs.u.options())};
  if (save) result.cells = at::empty_like(result.h);
  a.h = result.h.mutable_data_ptr<T>();
  a.cells = save ? result.cells.mutable_data_ptr<T>() : nullptr;
  a.last = result.last.mutable_data_ptr<T>();
  at::parallel_for(0, count * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) forwardTask(a, task / blocks, task % blocks);
  });
  return result;
}

template <class T>
RecurrenceGradients backward(const at::Tensor& dh, const at::Tensor& dlast, const RecurrenceInputs& inputs,
                             const Recurrence& saved, const Sequences& sequences,
                             const RecurrenceOptions& options, const at::Tensor& cellWeightsGradient,
                             const at::Tensor& biasGradient) {
  Arguments<T> a = argumentsOf<T>(inputs, sequences, options);
  const int64_t count = countOf(sequences), blocks = blocksOf(a), gates = options.projections > 2 ? 2 : 1;
  RecurrenceGradients result{at::empty_like(inputs.u), {}, at::empty({count, a.width}, inputs.u.options())};
  if (inputs.skip.defined()) result.skip = at::empty_like(inputs.skip);
  a.dh = dh.const_data_ptr<T>();
  a.dlast = dataOrNull<T>(dlast);
  a.savedCells = saved.cells.const_data_ptr<T>();
  a.du = result.u.mutable_data_ptr<T>();
  a.dskip = inputs.skip.defined() ? result.skip.mutable_data_ptr<T>() : nullptr;
  a.dstate = result.state.mutable_data_ptr<T>();
  // Sums in a fixed order, whatever the number of threads.
  const int64_t groups = std::clamp<int64_t>(count, 1, kGroups), size = 2 * gates * a.width;
  std::vector<T> sums(static_cast<size_t>(groups * size));
  at::parallel_for(0, groups * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t group = task / blocks;
      backwardTask(a, count * group / groups, count * (group + 1) / groups, task % blocks,
                   sums.data() + group * size);
    }
  });
  for (int64_t group = 0; group < groups; ++group) {
    const T* const own = sums.data() + group * size;
    if (cellWeightsGradient.defined()) addTo(cellWeightsGradient, own);
    if (biasGradient.defined()) addTo(biasGradient, own + gates * a.width);
  }
  return result;
}

}  // namespace

Recurrence recurrence(const RecurrenceInputs& inputs, const Sequences& sequences,
                      const RecurrenceOptions& options, bool save) {
  return inputs.u.scalar_type() == at::kFloat ? forward<float>(inputs, sequences, options, save)
                                              : forward<double>(inputs, sequences, options, save);
}

RecurrenceGradients recurrenceBackward(const at::Tensor& dh, const at::Tensor& dlast,
                                       const RecurrenceInputs& inputs, const Recurrence& saved,
                                       const Sequences& sequences, const RecurrenceOptions& options,
                                       const at::Tensor& cellWeightsGradient,
                                       const at::Tensor& biasGradient) {
  const at::Tensor rows = dh.contiguous(), states = dlast.defined() ? dlast.contiguous() : dlast;
  const auto run = inputs.u.scalar_type() == at::kFloat ? backward<float> : backward<double>;
  return run(rows, states, inputs, saved, sequences, options, cellWeightsGradient, biasGradient);
}

}  // namespace gradcache::kernels::cpu
