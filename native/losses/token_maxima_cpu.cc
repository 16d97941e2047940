// Late interaction on a CPU, a document at a time: what it adds to is its own, so threads do not meet.
#include <ATen/Parallel.h>

#include "kernels/cpu/simd.h"
#include "losses/token_maxima.h"

namespace gradcache {

namespace {

template <class T>
struct ForwardArguments {
  const T* similarities;
  int64_t tokens, width;  // of `similarities`
  const int64_t *offsets, *rowOf;
  double* scores;
  int64_t scoresWidth;
  int32_t* best;
  int64_t bestWidth;
};

// The largest of n numbers, in lanes so that it vectorises.
template <class T>
GRADCACHE_INLINE T largest(const T* x, int64_t n) {
  constexpr int64_t kLanes = 16;
  T result = x[0];
  int64_t k = 0;
  if (n >= kLanes) {
    T lanes[kLanes];
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] = x[lane];
    for (k = kLanes; k + kLanes <= n; k += kLanes)
      for (int64_t lane = 0; lane < kLanes; ++lane)
        lanes[lane] = x[k + lane] > lanes[lane] ? x[k + lane] : lanes[lane];
    for (int64_t lane = 0; lane < kLanes; ++lane) result = lanes[lane] > result ? lanes[lane] : result;
  }
  for (; k < n; ++k) result = x[k] > result ? x[k] : result;
  return result;
}

template <class T>
GRADCACHE_INLINE void forwardDocument(const ForwardArguments<T>& a, int64_t document) {
  const int64_t begin = a.offsets[document], length = a.offsets[document + 1] - begin;
  if (length == 0) return;
  for (int64_t t = 0; t < a.tokens; ++t) {
    const T* row = a.similarities + t * a.width + (begin - a.offsets[0]);
    const T value = largest(row, length);
    int64_t place = 0;
    while (place < length - 1 && row[place] != value) ++place;
    a.scores[a.rowOf[t] * a.scoresWidth + document] += static_cast<double>(value);
    a.best[t * a.bestWidth + document] = static_cast<int32_t>(begin + place);
  }
}

template <class T>
struct BackwardArguments {
  const T *queries, *documents, *shares;
  T *ofQueries, *ofDocuments;
  const int64_t* rowOf;
  const int32_t* best;
  int64_t tokens, columns, width, sharesWidth, bestWidth, firstToken;

  GRADCACHE_INLINE T share(int64_t token, int64_t document) const {
    return shares[rowOf[token] * sharesWidth + document];
  }
  // Of the tokens that are given; below 0: none.
  GRADCACHE_INLINE int64_t bestToken(int64_t token, int64_t document) const {
    const int64_t best = this->best[token * bestWidth + document];
    return best < 0 ? -1 : best - firstToken;
  }
};

template <class T>
GRADCACHE_INLINE void addScaled(const T* x, T scale, int64_t width, T* __restrict sum) {
  for (int64_t c = 0; c < width; ++c) sum[c] += scale * x[c];
}

template <class T>
GRADCACHE_INLINE void backwardDocument(const BackwardArguments<T>& a, int64_t document) {
  for (int64_t t = 0; t < a.tokens; ++t) {
    const T share = a.share(t, document);
    const int64_t token = a.bestToken(t, document);
    if (share != T(0) && token >= 0)
      addScaled(a.queries + t * a.width, share, a.width, a.ofDocuments + token * a.width);
  }
}

template <class T>
GRADCACHE_INLINE void backwardToken(const BackwardArguments<T>& a, int64_t t) {
  for (int64_t document = 0; document < a.columns; ++document) {
    const T share = a.share(t, document);
    const int64_t token = a.bestToken(t, document);
    if (share != T(0) && token >= 0)
      addScaled(a.documents + token * a.width, share, a.width, a.ofQueries + t * a.width);
  }
}

GRADCACHE_CLONES void forwardRange(const ForwardArguments<float>& a, int64_t first, int64_t last) {
  for (int64_t k = first; k < last; ++k) forwardDocument(a, k);
}
GRADCACHE_CLONES void forwardRange(const ForwardArguments<double>& a, int64_t first, int64_t last) {
  for (int64_t k = first; k < last; ++k) forwardDocument(a, k);
}
GRADCACHE_CLONES void documentRange(const BackwardArguments<float>& a, int64_t first, int64_t last) {
  for (int64_t k = first; k < last; ++k) backwardDocument(a, k);
}
GRADCACHE_CLONES void documentRange(const BackwardArguments<double>& a, int64_t first, int64_t last) {
  for (int64_t k = first; k < last; ++k) backwardDocument(a, k);
}
GRADCACHE_CLONES void tokenRange(const BackwardArguments<float>& a, int64_t first, int64_t last) {
  for (int64_t k = first; k < last; ++k) backwardToken(a, k);
}
GRADCACHE_CLONES void tokenRange(const BackwardArguments<double>& a, int64_t first, int64_t last) {
  for (int64_t k = first; k < last; ++k) backwardToken(a, k);
}

template <class T>
void forward(const at::Tensor& similarities, const TextRange& documents, const Maxima& maxima) {
  const ForwardArguments<T> a{similarities.const_data_ptr<T>(),
                              similarities.size(0),
                              similarities.size(1),
                              documents.offsets,
                              maxima.rowOf,
                              maxima.scores.mutable_data_ptr<double>(),
                              maxima.scores.stride(0),
                              maxima.best.mutable_data_ptr<int32_t>(),
                              maxima.best.stride(0)};
  at::parallel_for(0, documents.count, 1, [&](int64_t first, int64_t last) { forwardRange(a, first, last); });
}

template <class T>
void backward(const Shares& shares, const at::Tensor& queries, const at::Tensor& documents,
              const at::Tensor& ofQueries, const at::Tensor& ofDocuments) {
  const BackwardArguments<T> a{queries.const_data_ptr<T>(),
                               documents.const_data_ptr<T>(),
                               shares.shares.const_data_ptr<T>(),
                               ofQueries.mutable_data_ptr<T>(),
                               ofDocuments.mutable_data_ptr<T>(),
                               shares.rowOf,
                               shares.best.const_data_ptr<int32_t>(),
                               queries.size(0),
                               shares.shares.size(1),
                               queries.size(1),
                               shares.shares.stride(0),
                               shares.best.stride(0),
                               shares.firstToken};
  at::parallel_for(0, a.columns, 1, [&](int64_t first, int64_t last) { documentRange(a, first, last); });
  at::parallel_for(0, a.tokens, 1, [&](int64_t first, int64_t last) { tokenRange(a, first, last); });
}

}  // namespace

void addMaxima(const at::Tensor& similarities, const TextRange& documents, const Maxima& maxima) {
  if (similarities.scalar_type() == at::kFloat)
    forward<float>(similarities, documents, maxima);
  else
    forward<double>(similarities, documents, maxima);
}

void addThroughMaxima(const Shares& shares, const at::Tensor& queries, const at::Tensor& documents,
                      const at::Tensor& ofQueries, const at::Tensor& ofDocuments) {
  if (queries.scalar_type() == at::kFloat)
    backward<float>(shares, queries, documents, ofQueries, ofDocuments);
  else
    backward<double>(shares, queries, documents, ofQueries, ofDocuments);
}

}  // namespace gradcache
