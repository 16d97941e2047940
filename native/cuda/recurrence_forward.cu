// The recurrence's forward: h and the cells of a sequence's tokens, a warp a tile of columns.
#include <type_traits>

#include "cuda/recurrence.cuh"

namespace gradcache::cuda {

namespace {

template <class T>
struct RecurrenceForward {
  GradcacheRecurrence r;
  ColumnTiles tiles;
  T *h, *cells;  // cells may be null
  float* last;
};

template <class T, int Columns, int Arrays>
__global__ __launch_bounds__(kLanes) void recurrenceForwardKernel(const RecurrenceForward<T> a) {
  using Ring = RecurrenceRing<T, Columns, Arrays>;
  constexpr bool kReset = Arrays > 2, kSkip = Arrays > 3;
  __shared__ __align__(16) unsigned char memory[Ring::kBytes];
  const GradcacheRecurrence& r = a.r;
  const int number = static_cast<int>(blockIdx.x % static_cast<unsigned>(a.tiles.count()));
  const int64_t sequence = blockIdx.x / static_cast<unsigned>(a.tiles.count());
  const Tile tile(a.tiles, r.direction, number, Columns);
  const int begin = r.offsets[sequence], end = r.offsets[sequence + 1], count = end - begin;
  const int first = tile.reversed ? end - 1 : begin;
  const int64_t sign = tile.reversed ? -1 : 1;
  const int64_t width = r.width, uWidth = r.projections * width;

  // The lane's own columns: of its direction, and of the whole output.
  const int own = tile.column + static_cast<int>(threadIdx.x) * Columns;
  const bool inside = own < a.tiles.own;
  const int64_t column = static_cast<int64_t>(tile.way) * a.tiles.own + own;

  Ring ring(memory, a.tiles.own - tile.column, count);
  const T* const u = static_cast<const T*>(r.u) + first * uWidth +
                     static_cast<int64_t>(tile.way) * r.projections * a.tiles.own + tile.column;
#pragma unroll
  for (int array = 0; array < Arrays; ++array) {
    if (array < r.projections) ring.add(array, u + static_cast<int64_t>(array) * a.tiles.own, sign * uWidth);
  }
  if (kSkip && r.skip) {
    ring.add(Arrays - 1,
             static_cast<const T*>(r.skip) + first * width + static_cast<int64_t>(tile.way) * a.tiles.own +
                 tile.column,
             sign * width);
  }
  ring.begin();

  const T *const weights = static_cast<const T*>(r.cellWeights), *const bias = static_cast<const T*>(r.bias);
  Gate<Columns> forget{}, reset{};
  float cell[Columns] = {}, mask[Columns];
#pragma unroll
  for (int v = 0; v < Columns; ++v) mask[v] = 1;
  if (inside) {
    forget.read(weights ? weights + column : nullptr, bias ? bias + column : nullptr);
    if (kReset) {
      reset.read(weights ? weights + width + column : nullptr, bias ? bias + width + column : nullptr);
    }
    if (r.state) readColumns<float, Columns>(r.state + sequence * width + column, cell);
  }
  const bool drops = r.mask.threshold != 0, dropsTokens = drops && r.maskPerToken;
  if (drops && !dropsTokens) maskFactors<Columns>(r.mask, sequence, static_cast<int>(column), mask);

  T* h = a.h + first * width + column;
  T* cells = a.cells ? a.cells + first * width + column : nullptr;
  int64_t token = first;
  const auto step = [&](int s) {
    float z[Columns], f[Columns], g[Columns], x[Columns], out[Columns];
    ring.read(s, 0, z);
    ring.read(s, 1, f);
    if constexpr (kReset) ring.read(s, 2, g);
    if constexpr (kSkip) ring.read(s, 3, x);
    if (dropsTokens) maskFactors<Columns>(r.mask, token, static_cast<int>(column), mask);
#pragma unroll
    for (int v = 0; v < Columns; ++v) {
      if (r.tanhCandidate) z[v] = hyperbolicTangent(z[v]);
      const float before = cell[v];
      cell[v] = fmaf(forget.open(f[v], before, v), before - z[v], z[v]);
      if constexpr (kReset) {
        const float kept = mask[v] * reset.open(g[v], before, v);
        if constexpr (kSkip) {
          const float skip = r.skipScale * x[v];
          out[v] = fmaf(kept, cell[v] - skip, skip);
        } else {
          out[v] = kept * cell[v];
        }
      } else {
        out[v] = mask[v] * cell[v];
      }
    }
    if (inside) {
      writeColumns<T, Columns>(h, out);
      if (cells) writeColumns<T, Columns>(cells, cell);
    }
    h += sign * width;
    if (cells) cells += sign * width;
    token += sign;
  };

  for (int done = 0; done < count; done += Ring::kSteps) {
    ring.advance();
    if (done + Ring::kSteps <= count) {
#pragma unroll
      for (int s = 0; s < Ring::kSteps; ++s) step(s);
    } else {
      for (int s = 0; s < count - done; ++s) step(s);
    }
  }
  ring.end();
  if (inside) writeColumns<float, Columns>(a.last + sequence * width + column, cell);
}

}  // namespace

}  // namespace gradcache::cuda

using namespace gradcache::cuda;

int gradcache_recurrence_forward(const GradcacheRecurrence* r, void* h, void* cells, float* last) {
  if (cudaError_t error = checkRecurrence(r)) return error;
  if (cudaError_t error = checkAligned(h, cells, last)) return error;
  if (r->sequences == 0) return cudaSuccess;
  return withRecurrence(*r, isNarrow(*r, r->sequences), [&](auto type, auto columns, auto arrays) {
    using T = decltype(type);
    const ColumnTiles tiles = ColumnTiles::of(*r, columns);
    const int64_t blocks = int64_t{r->sequences} * tiles.count();
    if (blocks > INT32_MAX) return cudaErrorInvalidValue;
    recurrenceForwardKernel<T, decltype(columns)::value, decltype(arrays)::value>
        <<<static_cast<unsigned>(blocks), kLanes, 0, static_cast<cudaStream_t>(r->stream)>>>(
            {*r, tiles, static_cast<T*>(h), static_cast<T*>(cells), last});
    return cudaGetLastError();
  });
}
