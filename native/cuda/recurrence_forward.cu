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
  float cell[Columns] = {}, mask[Ring::kSteps][Columns];
#pragma unroll
  for (int v = 0; v < Columns; ++v) mask[0][v] = 1;
  if (inside) {
    forget.read(weights ? weights + column : nullptr, bias ? bias + column : nullptr);
    if (kReset) {
      reset.read(weights ? weights + width + column : nullptr, bias ? bias + width + column : nullptr);
    }
    if (r.state) readColumns<float, Columns>(r.state + sequence * width + column, cell);
  }
  const bool drops = r.mask.threshold != 0, dropsTokens = drops && r.maskPerToken;
  if (drops && !dropsTokens) maskFactors<Columns>(r.mask, sequence, static_cast<int>(column), mask[0]);
#pragma unroll
  for (int i = Columns; i < Ring::kSteps * Columns; ++i)
    mask[i / Columns][i % Columns] = mask[0][i % Columns];

  T* h = a.h + first * width + column;
  T* cells = a.cells ? a.cells + first * width + column : nullptr;
  const int64_t stride = sign * width;
  // Nothing but the cell depends on the step before. A stage has its branches before and after its steps, so
  // that what does not depend on the cell is computed while the cell is waited for.
  const auto stage = [&](const typename Ring::Rows& rows, int64_t token, auto whole, int left) {
    constexpr bool kWhole = decltype(whole)::value;
    float z[Ring::kSteps][Columns], out[Ring::kSteps][Columns], kept[Ring::kSteps][Columns];
#pragma unroll
    for (int s = 0; s < Ring::kSteps; ++s) rows.unpack(s, 0, z[s]);
    if (r.tanhCandidate) {
#pragma unroll
      for (int i = 0; i < Ring::kSteps * Columns; ++i)
        z[i / Columns][i % Columns] = hyperbolicTangent(z[i / Columns][i % Columns]);
    }
    if (dropsTokens) {
#pragma unroll
      for (int s = 0; s < Ring::kSteps; ++s)
        maskFactors<Columns>(r.mask, token + sign * s, static_cast<int>(column), mask[s]);
    }
#pragma unroll
    for (int s = 0; s < Ring::kSteps; ++s) {
      if (!kWhole && s >= left) break;
      float f[Columns];
      [[maybe_unused]] float g[Columns], x[Columns];
      rows.unpack(s, 1, f);
      if constexpr (kReset) rows.unpack(s, 2, g);
      if constexpr (kSkip) rows.unpack(s, 3, x);
#pragma unroll
      for (int v = 0; v < Columns; ++v) {
        const float before = cell[v];
        cell[v] = fmaf(forget.open(f[v], before, v), before - z[s][v], z[s][v]);
        kept[s][v] = cell[v];
        if constexpr (kReset) {
          const float share = mask[s][v] * reset.open(g[v], before, v);
          const float skip = kSkip ? r.skipScale * x[v] : 0.0f;
          out[s][v] = fmaf(share, cell[v] - skip, skip);
        } else {
          out[s][v] = mask[s][v] * cell[v];
        }
      }
    }
    if (inside) {
#pragma unroll
      for (int s = 0; s < Ring::kSteps; ++s) {
        if (kWhole || s < left) writeColumns<T, Columns>(h + s * stride, out[s]);
      }
      if (cells) {
#pragma unroll
        for (int s = 0; s < Ring::kSteps; ++s) {
          if (kWhole || s < left) writeColumns<T, Columns>(cells + s * stride, kept[s]);
        }
        cells += Ring::kSteps * stride;
      }
    }
    h += Ring::kSteps * stride;
  };

  typename Ring::Rows next;
  ring.advance();
  ring.read(next);
  for (int done = 0; done < count; done += Ring::kSteps) {
    const typename Ring::Rows rows = next;
    ring.advance();
    ring.read(next);
    const int64_t token = first + sign * done;
    if (done + Ring::kSteps <= count) {
      stage(rows, token, std::true_type{}, Ring::kSteps);
    } else {
      stage(rows, token, std::false_type{}, count - done);
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
