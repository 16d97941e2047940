// The recurrence's backward: walks a sequence from its end, works the gates out again from u and the cells,
// and carries dL/dc. A warp has a tile of columns and some sequences, whose parameter gradients it adds up.
#include <type_traits>

#include "cuda/recurrence.cuh"

namespace gradcache::cuda {

namespace {

template <class T>
struct RecurrenceBackward {
  GradcacheRecurrence r;
  ColumnTiles tiles;
  int groups;
  const T *dh, *cells;
  const float* dlast;  // may be null
  T *du, *dskip;       // dskip may be null
  float *dstate, *partials;
};

// The gradients of a lane's columns of a gate's parameters.
template <int Columns>
struct GateSums {
  float weight[Columns] = {}, bias[Columns] = {};

  __device__ __forceinline__ void add(float gradient, float before, int v) {
    weight[v] = fmaf(gradient, before, weight[v]);
    bias[v] += gradient;
  }
};

template <class T, int Columns, int Arrays>
__global__ __launch_bounds__(kLanes) void recurrenceBackwardKernel(const RecurrenceBackward<T> a) {
  using Ring = RecurrenceRing<T, Columns, Arrays + 2>;
  constexpr bool kReset = Arrays > 2, kSkip = Arrays > 3;
  constexpr int kGradient = Arrays, kCells = Arrays + 1;
  __shared__ __align__(16) unsigned char memory[Ring::kBytes];
  const GradcacheRecurrence& r = a.r;
  const int number = static_cast<int>(blockIdx.x % static_cast<unsigned>(a.tiles.count()));
  const int64_t group = blockIdx.x / static_cast<unsigned>(a.tiles.count());
  const Tile tile(a.tiles, r.direction, number, Columns);
  const int64_t width = r.width, uWidth = r.projections * width;
  const int64_t sign = tile.reversed ? 1 : -1;  // from the last token to the first, as the forward went

  // The lane's own columns: of its direction, of the whole output, and of u.
  const int own = tile.column + static_cast<int>(threadIdx.x) * Columns;
  const bool inside = own < a.tiles.own;
  const int64_t way = static_cast<int64_t>(tile.way) * a.tiles.own, column = way + own;
  const int64_t uColumn = way * r.projections + own;

  const T *const weights = static_cast<const T*>(r.cellWeights), *const bias = static_cast<const T*>(r.bias);
  Gate<Columns> forget{}, reset{};
  GateSums<Columns> forgetSums, resetSums;
  if (inside) {
    forget.read(weights ? weights + column : nullptr, bias ? bias + column : nullptr);
    if (kReset) {
      reset.read(weights ? weights + width + column : nullptr, bias ? bias + width + column : nullptr);
    }
  }
  const bool drops = r.mask.threshold != 0, dropsTokens = drops && r.maskPerToken;

  for (int64_t sequence = r.sequences * group / a.groups; sequence < r.sequences * (group + 1) / a.groups;
       ++sequence) {
    const int begin = r.offsets[sequence], end = r.offsets[sequence + 1], count = end - begin;
    const int first = tile.reversed ? begin : end - 1;

    Ring ring(memory, a.tiles.own - tile.column, count);
    const T* const u = static_cast<const T*>(r.u) + first * uWidth + way * r.projections + tile.column;
    const int64_t row = first * width + way + tile.column;
#pragma unroll
    for (int array = 0; array < Arrays; ++array) {
      if (array < r.projections)
        ring.add(array, u + static_cast<int64_t>(array) * a.tiles.own, sign * uWidth);
    }
    if (kSkip && r.skip) ring.add(Arrays - 1, static_cast<const T*>(r.skip) + row, sign * width);
    ring.add(kGradient, a.dh + row, sign * width);
    // The cell before a token is that of the next one on this walk; before the first token it is the state.
    ring.add(kCells, a.cells + row + sign * width, sign * width, 1);
    ring.begin();

    float start[Columns] = {}, running[Columns] = {}, cell[Columns] = {}, mask[Columns];
#pragma unroll
    for (int v = 0; v < Columns; ++v) mask[v] = 1;
    if (inside) {
      if (r.state) readColumns<float, Columns>(r.state + sequence * width + column, start);
      if (a.dlast) readColumns<float, Columns>(a.dlast + sequence * width + column, running);
      if (count > 0) readColumns<T, Columns>(a.cells + first * width + column, cell);
    }
    if (drops && !dropsTokens) maskFactors<Columns>(r.mask, sequence, static_cast<int>(column), mask);

    T* du = a.du + first * uWidth + uColumn;
    T* dskip = a.dskip ? a.dskip + first * width + column : nullptr;
    int64_t token = first;
    const auto step = [&](int s, bool isFirst) {
      float z[Columns], f[Columns], g[Columns], x[Columns], dh[Columns], before[Columns];
      ring.read(s, 0, z);
      ring.read(s, 1, f);
      if constexpr (kReset) ring.read(s, 2, g);
      if constexpr (kSkip) ring.read(s, 3, x);
      ring.read(s, kGradient, dh);
      ring.read(s, kCells, before);
      if (dropsTokens) maskFactors<Columns>(r.mask, token, static_cast<int>(column), mask);
      float dz[Columns], df[Columns], dg[Columns], dx[Columns];
#pragma unroll
      for (int v = 0; v < Columns; ++v) {
        if (isFirst) before[v] = start[v];
        if (r.tanhCandidate) z[v] = hyperbolicTangent(z[v]);
        float through = mask[v] * dh[v], across = 0;
        if constexpr (kReset) {
          const float open = reset.open(g[v], before[v], v);
          through *= open;
          const float skip = kSkip ? r.skipScale * x[v] : 0.0f;
          dg[v] = through * (cell[v] - skip) * (1.0f - open);
          dx[v] = r.skipScale * (dh[v] - through);
          across = dg[v] * reset.weight[v];
          resetSums.add(dg[v], before[v], v);
        }
        const float open = forget.open(f[v], before[v], v), shut = 1.0f - open;
        const float slope = open * shut * (before[v] - z[v]);
        const float gradient = through + running[v];
        df[v] = gradient * slope;
        dz[v] = gradient * shut;
        if (r.tanhCandidate) dz[v] *= fmaf(-z[v], z[v], 1.0f);
        running[v] = fmaf(gradient, fmaf(slope, forget.weight[v], open), across);
        forgetSums.add(df[v], before[v], v);
        cell[v] = before[v];
      }
      if (inside) {
        writeColumns<T, Columns>(du, dz);
        writeColumns<T, Columns>(du + a.tiles.own, df);
        if constexpr (kReset) writeColumns<T, Columns>(du + 2 * static_cast<int64_t>(a.tiles.own), dg);
        if constexpr (kSkip) {
          writeColumns<T, Columns>(dskip ? dskip : du + 3 * static_cast<int64_t>(a.tiles.own), dx);
        }
      }
      du += sign * uWidth;
      if (dskip) dskip += sign * width;
      token += sign;
    };

    for (int done = 0; done < count; done += Ring::kSteps) {
      ring.advance();
      if (done + Ring::kSteps < count) {
#pragma unroll
        for (int s = 0; s < Ring::kSteps; ++s) step(s, false);
      } else {
        for (int s = 0; s < count - done; ++s) step(s, done + s + 1 == count);
      }
    }
    ring.end();
    if (inside) writeColumns<float, Columns>(a.dstate + sequence * width + column, running);
  }

  if (!inside || !a.partials) return;
  // [groups, 2 gates, width]: cell weights, then biases.
  constexpr int kGates = kReset ? 2 : 1;
  float* const sums = a.partials + group * 2 * kGates * width + column;
  writeColumns<float, Columns>(sums, forgetSums.weight);
  writeColumns<float, Columns>(sums + kGates * width, forgetSums.bias);
  if constexpr (kReset) {
    writeColumns<float, Columns>(sums + width, resetSums.weight);
    writeColumns<float, Columns>(sums + 3 * width, resetSums.bias);
  }
}

int groupsOf(const GradcacheRecurrence& r) { return std::min<int>(r.sequences, kSequenceGroups); }

}  // namespace

}  // namespace gradcache::cuda

using namespace gradcache::cuda;

size_t gradcache_recurrence_backward_scratch(const GradcacheRecurrence* r) {
  if (checkRecurrence(r) != cudaSuccess) return 0;
  return static_cast<size_t>(groupsOf(*r)) * 2 * static_cast<size_t>(gatesOf(*r)) *
         static_cast<size_t>(r->width) * sizeof(float);
}

int gradcache_recurrence_backward(const GradcacheRecurrence* r, const void* dh, const float* dlast,
                                  const void* cells, void* du, void* dskip, float* dstate,
                                  float* cellWeightsGradient, float* biasGradient, void* scratch) {
  if (cudaError_t error = checkRecurrence(r)) return error;
  if (cudaError_t error = checkAligned(dh, dlast, cells, du, dskip, dstate, scratch)) return error;
  if ((r->skip == nullptr) != (dskip == nullptr)) return cudaErrorInvalidValue;
  if (r->sequences == 0) return cudaSuccess;
  const int groups = groupsOf(*r), gates = gatesOf(*r);
  const bool sums = cellWeightsGradient || biasGradient;
  const cudaStream_t stream = static_cast<cudaStream_t>(r->stream);
  const cudaError_t code =
      withRecurrence(*r, isNarrow(*r, groups), [&](auto type, auto columns, auto arrays) {
        using T = decltype(type);
        const ColumnTiles tiles = ColumnTiles::of(*r, columns);
        const int64_t blocks = int64_t{groups} * tiles.count();
        if (blocks > INT32_MAX) return cudaErrorInvalidValue;
        recurrenceBackwardKernel<T, decltype(columns)::value, decltype(arrays)::value>
            <<<static_cast<unsigned>(blocks), kLanes, 0, stream>>>(
                {*r, tiles, groups, static_cast<const T*>(dh), static_cast<const T*>(cells), dlast,
                 static_cast<T*>(du), static_cast<T*>(dskip), dstate,
                 sums ? static_cast<float*>(scratch) : nullptr});
        return cudaGetLastError();
      });
  if (code != cudaSuccess || !sums) return code;
  return addPartialSums(static_cast<const float*>(scratch), groups, gates * static_cast<int>(r->width),
                        {{cellWeightsGradient, biasGradient, nullptr}, 2}, stream);
}
