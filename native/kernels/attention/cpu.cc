// Attention over packed sequences, some queries of one sequence and head at a time: the matrices stay in the
// cache, and memory grows with the length alone. Backward recomputes the probabilities.
#include <ATen/Parallel.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/attention/versions.h"
#include "kernels/cpu/simd.h"

namespace gradcache::kernels::cpu {

namespace {

constexpr int64_t kQueries = 64;  // at a time

template <class T>
struct Arguments {
  const T* qkv;
  T* out;         // forward only
  T* normalizer;  // [heads, tokens]
  const T *dout, *savedOut;
  T* dqkv;
  const T* distanceBias;  // [heads, 2 * longest - 1] or null
  T* distanceBiasGradient;
  int64_t tokens, longest;
  AttentionForm form;
  DropoutKey key;

  int64_t width() const { return form.columns(); }
  int64_t keyColumn(int64_t keyHead) const { return (form.heads + keyHead) * form.size; }
  int64_t valueColumn(int64_t keyHead) const { return (form.heads + form.keyHeads + keyHead) * form.size; }
};

// Rows of scratch are padded to whole vectors.
template <class T>
GRADCACHE_INLINE int64_t padded(int64_t length) {
  constexpr int64_t lanes = Lanes<T>::count;
  return (length + lanes - 1) / lanes * lanes;
}

// target [size, stride] = source [length, size] transposed, zeros behind the length.
template <class T>
GRADCACHE_INLINE void transpose(const T* source, int64_t sourceStride, int64_t length, int64_t size,
                                T* target, int64_t stride) {
  for (int64_t c = 0; c < size; ++c) {
    for (int64_t t = 0; t < length; ++t) target[c * stride + t] = source[t * sourceStride + c];
    for (int64_t t = length; t < stride; ++t) target[c * stride + t] = T(0);
  }
}

struct Sequence {
  int64_t begin, length;
  int64_t seen;  // the first so many of its tokens are attended to
};

// Queries [from, to) of a sequence, and the keys [first, last) that any of them sees; `first` is a multiple
// of the lanes.
struct Block {
  int64_t begin, seen;  // of the sequence, and how many of its tokens others attend to
  int64_t from, to, first, last;

  int64_t keys() const { return last - first; }
};

template <class T>
GRADCACHE_INLINE Block blockOf(const Arguments<T>& a, const Sequence& sequence, int64_t from) {
  constexpr int64_t lanes = Lanes<T>::count;
  const int64_t to = from + kQueries < sequence.length ? from + kQueries : sequence.length;
  const int64_t farthest = a.form.causal ? to : to + a.form.window;
  const int64_t last = farthest < sequence.seen ? farthest : sequence.seen;
  const int64_t nearest = from > a.form.window ? from - a.form.window : 0;
  return {sequence.begin, sequence.seen, from, to, (nearest < last ? nearest : last) / lanes * lanes, last};
}

// The keys that query i sees, counted from the block's first.
struct Seen {
  int64_t from, to;
};

template <class T>
GRADCACHE_INLINE Seen seenBy(const Arguments<T>& a, const Block& b, int64_t i) {
  const int64_t nearest = i > a.form.window ? i - a.form.window : 0;
  const int64_t farthest = a.form.causal ? i + 1 : i + a.form.window + 1;
  const int64_t to = farthest < b.seen ? farthest : b.seen;
  return {(nearest < to ? nearest : to) - b.first, to - b.first};
}

// scores = scale * q k^T, under the cap where there is one, + bias, for query rows of `stride` columns each.
// `transposed` holds all keys of the sequence.
template <class T>
GRADCACHE_INLINE void scoreRows(const Arguments<T>& a, const Block& b, int64_t head, T* scores,
                                const T* transposed, int64_t stride) {
  const T* q = a.qkv + (b.begin + b.from) * a.width() + head * a.form.size;
  product(b.to - b.from, padded<T>(b.keys()), a.form.size, q, a.width(), int64_t{1}, transposed + b.first,
          stride, scores, stride);
  const T scale = static_cast<T>(a.form.scale), cap = static_cast<T>(a.form.softCap);
  for (int64_t i = b.from; i < b.to; ++i) {
    T* row = scores + (i - b.from) * stride;
    if (cap != 0) {
      for (int64_t j = 0; j < b.keys(); ++j) row[j] = cap * hyperbolicTangent(row[j] * (scale / cap));
    } else {
      for (int64_t j = 0; j < b.keys(); ++j) row[j] *= scale;
    }
    if (a.distanceBias) {
      const T* bias = a.distanceBias + head * (2 * a.longest - 1) + a.longest - 1 - i + b.first;
      for (int64_t j = 0; j < b.keys(); ++j) row[j] += bias[j];
    }
  }
}

// What a query does not see has no part in it.
template <class T>
GRADCACHE_INLINE void clearUnseen(T* row, const Seen& seen, int64_t keys) {
  for (int64_t j = 0; j < seen.from; ++j) row[j] = T(0);
  for (int64_t j = seen.to; j < keys; ++j) row[j] = T(0);
}

// The keep factors of the block's keys for query i.
template <class T>
GRADCACHE_INLINE const T* keepFactors(const Arguments<T>& a, const Block& b, int64_t head, int64_t i,
                                      T* factors) {
  dropoutFactors(a.key, static_cast<uint32_t>((b.begin + i) * a.form.heads + head), b.last, factors);
  return factors + b.first;
}

// `work` holds the transposed keys, a block of scores and a row of factors.
template <class T>
GRADCACHE_INLINE void forwardHead(const Arguments<T>& a, const Sequence& sequence, int64_t head, T* work) {
  const int64_t begin = sequence.begin, length = sequence.length;
  const int64_t size = a.form.size, hidden = a.form.heads * size, stride = padded<T>(length);
  const int64_t keyHead = head / (a.form.heads / a.form.keyHeads);
  const T* rows = a.qkv + begin * a.width();
  T* transposed = work;
  T* scores = transposed + size * stride;
  T* factors = scores + kQueries * stride;
  transpose(rows + a.keyColumn(keyHead), a.width(), length, size, transposed, stride);
  for (int64_t from = 0; from < length; from += kQueries) {
    const Block b = blockOf(a, sequence, from);
    scoreRows(a, b, head, scores, transposed, stride);
    for (int64_t i = b.from; i < b.to; ++i) {
      T* row = scores + (i - b.from) * stride;
      const Seen seen = seenBy(a, b, i);
      T largest = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : largest)
      for (int64_t j = seen.from; j < seen.to; ++j) largest = row[j] > largest ? row[j] : largest;
      T total = 0;
#pragma omp simd reduction(+ : total)
      for (int64_t j = seen.from; j < seen.to; ++j) {
        row[j] = exponential(row[j] - largest);
        total += row[j];
      }
      a.normalizer[head * a.tokens + begin + i] = largest + std::log(total);
      const T inverse = T(1) / total;
      if (a.key.active()) {
        const T* keep = keepFactors(a, b, head, i, factors);
        for (int64_t j = seen.from; j < seen.to; ++j) row[j] *= inverse * keep[j];
      } else {
        for (int64_t j = seen.from; j < seen.to; ++j) row[j] *= inverse;
      }
      clearUnseen(row, seen, b.keys());
    }
    product(b.to - b.from, size, b.keys(), scores, stride, int64_t{1},
            rows + b.first * a.width() + a.valueColumn(keyHead), a.width(),
            a.out + (begin + b.from) * hidden + head * size, hidden);
  }
}

// Adds to the gradients of the keys and values, which the first block of the first of their heads starts.
// `work` holds the transposed keys and values, two blocks of scores and a row of factors.
template <class T>
GRADCACHE_INLINE void backwardHead(const Arguments<T>& a, const Sequence& sequence, int64_t head, T* work) {
  const int64_t begin = sequence.begin, length = sequence.length;
  const int64_t size = a.form.size, hidden = a.form.heads * size, width = a.width();
  const int64_t stride = padded<T>(length), keyHead = head / (a.form.heads / a.form.keyHeads);
  T* keys = work;
  T* values = keys + size * stride;
  T* dropped = values + size * stride;  // scores first, then the probabilities behind the dropout
  T* dscores = dropped + kQueries * stride;
  T* factors = dscores + kQueries * stride;
  const T *q = a.qkv + begin * width + head * size, *k = a.qkv + begin * width + a.keyColumn(keyHead);
  T *dq = a.dqkv + begin * width + head * size, *dk = a.dqkv + begin * width + a.keyColumn(keyHead),
    *dv = a.dqkv + begin * width + a.valueColumn(keyHead);
  const T scale = static_cast<T>(a.form.scale), cap = static_cast<T>(a.form.softCap);
  transpose(k, width, length, size, keys, stride);
  transpose(a.qkv + begin * width + a.valueColumn(keyHead), width, length, size, values, stride);
  for (int64_t from = 0; from < length; from += kQueries) {
    const Block b = blockOf(a, sequence, from);
    const int64_t queries = b.to - b.from;
    const T* dout = a.dout + (begin + b.from) * hidden + head * size;
    const T* out = a.savedOut + (begin + b.from) * hidden + head * size;
    scoreRows(a, b, head, dropped, keys, stride);
    product(queries, padded<T>(b.keys()), size, dout, hidden, int64_t{1}, values + b.first, stride, dscores,
            stride);
    for (int64_t i = b.from; i < b.to; ++i) {
      T *row = dropped + (i - b.from) * stride, *drow = dscores + (i - b.from) * stride;
      const Seen seen = seenBy(a, b, i);
      const T normalizer = a.normalizer[head * a.tokens + begin + i];
      // sum_j p_ij dL/dp_ij, which equals dL/dout_i . out_i even with dropout.
      T common = 0;
      const T *douti = dout + (i - b.from) * hidden, *outi = out + (i - b.from) * hidden;
#pragma omp simd reduction(+ : common)
      for (int64_t c = 0; c < size; ++c) common += douti[c] * outi[c];
      const T* keep = a.key.active() ? keepFactors(a, b, head, i, factors) : nullptr;
      for (int64_t j = seen.from; j < seen.to; ++j) {
        const T factor = keep ? keep[j] : T(1);
        const T capped = cap != 0 ? row[j] / cap : T(0);
        const T p = exponential(row[j] - normalizer);
        row[j] = p * factor;
        drow[j] = p * (drow[j] * factor - common) * (T(1) - capped * capped);
      }
      clearUnseen(row, seen, b.keys());
      clearUnseen(drow, seen, b.keys());
      if (a.distanceBiasGradient) {
        T* gradient = a.distanceBiasGradient + head * (2 * a.longest - 1) + a.longest - 1 - i + b.first;
        for (int64_t j = seen.from; j < seen.to; ++j) gradient[j] += drow[j];
      }
      for (int64_t j = 0; j < b.keys(); ++j) drow[j] *= scale;
    }
    product(queries, size, b.keys(), dscores, stride, int64_t{1}, k + b.first * width, width,
            dq + b.from * width, width);
    T *dkFirst = dk + b.first * width, *dvFirst = dv + b.first * width;
    const T* qFirst = q + b.from * width;
    if (length <= kQueries && head % (a.form.heads / a.form.keyHeads) == 0) {
      product(b.keys(), size, queries, dscores, int64_t{1}, stride, qFirst, width, dkFirst, width);
      product(b.keys(), size, queries, dropped, int64_t{1}, stride, dout, hidden, dvFirst, width);
    } else {
      product<true>(b.keys(), size, queries, dscores, int64_t{1}, stride, qFirst, width, dkFirst, width);
      product<true>(b.keys(), size, queries, dropped, int64_t{1}, stride, dout, hidden, dvFirst, width);
    }
  }
}

// All heads of queries that a head of keys serves.
template <class T>
GRADCACHE_INLINE void backwardHeads(const Arguments<T>& a, const Sequence& sequence, int64_t keyHead,
                                    T* work) {
  const int64_t served = a.form.heads / a.form.keyHeads;
  // What is only added to, or never.
  for (int64_t t = sequence.length > kQueries ? 0 : sequence.seen; t < sequence.length; ++t) {
    T* row = a.dqkv + (sequence.begin + t) * a.width();
    for (int64_t c = 0; c < a.form.size; ++c)
      row[a.keyColumn(keyHead) + c] = row[a.valueColumn(keyHead) + c] = T(0);
  }
  for (int64_t h = 0; h < served; ++h) backwardHead(a, sequence, keyHead * served + h, work);
}

GRADCACHE_CLONES void forwardOne(const Arguments<float>& a, const Sequence& sequence, int64_t head,
                                 float* work) {
  forwardHead(a, sequence, head, work);
}
GRADCACHE_CLONES void forwardOne(const Arguments<double>& a, const Sequence& sequence, int64_t head,
                                 double* work) {
  forwardHead(a, sequence, head, work);
}
GRADCACHE_CLONES void backwardOne(const Arguments<float>& a, const Sequence& sequence, int64_t keyHead,
                                  float* work) {
  backwardHeads(a, sequence, keyHead, work);
}
GRADCACHE_CLONES void backwardOne(const Arguments<double>& a, const Sequence& sequence, int64_t keyHead,
                                  double* work) {
  backwardHeads(a, sequence, keyHead, work);
}

template <class T>
Arguments<T> arguments(const at::Tensor& qkv, const Sequences& sequences, const AttentionForm& form,
                       const at::Tensor& distanceBias, const DropoutKey& key) {
  Arguments<T> a{};
  a.qkv = qkv.const_data_ptr<T>();
  a.distanceBias = distanceBias.defined() ? distanceBias.const_data_ptr<T>() : nullptr;
  a.tokens = qkv.size(0);
  a.form = form;
  a.longest = sequences.longest;
  a.key = key;
  return a;
}

Sequence sequenceOf(const Sequences& sequences, int64_t s) {
  const int64_t begin = sequences.offsets[s], end = sequences.offsets[s + 1];
  return {begin, end - begin, (sequences.keyEnds == nullptr ? end : (*sequences.keyEnds)[s]) - begin};
}

template <class T>
size_t workSize(const Arguments<T>& a) {
  const int64_t stride = padded<T>(a.longest);
  return static_cast<size_t>((2 * kQueries + 2 * a.form.size + 1) * stride);
}

template <class T>
Attention forward(const at::Tensor& qkv, const Sequences& sequences, const AttentionForm& form,
                  const at::Tensor& distanceBias, const DropoutKey& key) {
  Attention result{at::empty({qkv.size(0), form.heads * form.size}, qkv.options()),
                   at::empty({form.heads, qkv.size(0)}, qkv.options())};
  Arguments<T> a = arguments<T>(qkv, sequences, form, distanceBias, key);
  a.out = result.out.mutable_data_ptr<T>();
  a.normalizer = result.normalizer.mutable_data_ptr<T>();
  const int64_t n = static_cast<int64_t>(sequences.offsets.size()) - 1;
  at::parallel_for(0, n * form.heads, 1, [&](int64_t first, int64_t last) {
    std::vector<T> work(workSize(a));
    for (int64_t k = first; k < last; ++k) {
      const int64_t s = k / form.heads;
      forwardOne(a, sequenceOf(sequences, s), k % form.heads, work.data());
    }
  });
  return result;
}

template <class T>
at::Tensor backward(const at::Tensor& dout, const at::Tensor& qkv, const Attention& saved,
                    const Sequences& sequences, const AttentionForm& form, const at::Tensor& distanceBias,
                    const DropoutKey& key, const at::Tensor& distanceBiasGradient) {
  at::Tensor dqkv = at::empty_like(qkv);
  Arguments<T> a = arguments<T>(qkv, sequences, form, distanceBias, key);
  a.normalizer = const_cast<T*>(saved.normalizer.const_data_ptr<T>());  // read only in backward
  a.dout = dout.const_data_ptr<T>();
  a.savedOut = saved.out.const_data_ptr<T>();
  a.dqkv = dqkv.mutable_data_ptr<T>();
  a.distanceBiasGradient =
      distanceBiasGradient.defined() ? distanceBiasGradient.mutable_data_ptr<T>() : nullptr;
  const int64_t n = static_cast<int64_t>(sequences.offsets.size()) - 1;
  // The gradient of the distance bias adds up over sequences: one thread takes all of a head's, in order.
  const int64_t grain = a.distanceBiasGradient ? n : 1;
  at::parallel_for(0, n * form.keyHeads / grain, 1, [&](int64_t first, int64_t last) {
    std::vector<T> work(workSize(a));
    for (int64_t k = first * grain; k < last * grain; ++k) {
      const int64_t s = k % n, head = k / n;
      backwardOne(a, sequenceOf(sequences, s), head, work.data());
    }
  });
  return dqkv;
}

}  // namespace

Attention attention(const at::Tensor& qkv, const Sequences& sequences, const AttentionForm& form,
                    const at::Tensor& distanceBias, const DropoutKey& key) {
  return qkv.scalar_type() == at::kFloat ? forward<float>(qkv, sequences, form, distanceBias, key)
                                         : forward<double>(qkv, sequences, form, distanceBias, key);
}

at::Tensor attentionBackward(const at::Tensor& dout, const at::Tensor& qkv, const Attention& saved,
                             const Sequences& sequences, const AttentionForm& form,
                             const at::Tensor& distanceBias, const DropoutKey& key,
                             const at::Tensor& distanceBiasGradient) {
  at::Tensor rows = dout.contiguous();
  return qkv.scalar_type() == at::kFloat
             ? backward<float>(rows, qkv, saved, sequences, form, distanceBias, key, distanceBiasGradient)
             : backward<double>(rows, qkv, saved, sequences, form, distanceBias, key, distanceBiasGradient);
}

}  // namespace gradcache::kernels::cpu
