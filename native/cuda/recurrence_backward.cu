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

    float start[Columns] = {}, running[Columns] = {}, cell[Columns] = {}, mask[Ring::kSteps][Columns];
#pragma unroll
    for (int v = 0; v < Columns; ++v) mask[0][v] = 1;
    if (inside) {
      if (r.state) readColumns<float, Columns>(r.state + sequence * width + column, start);
      if (a.dlast) readColumns<float, Columns>(a.dlast + sequence * width + column, running);
      if (count > 0) readColumns<T, Columns>(a.cells + first * width + column, cell);
    }
    if (drops && !dropsTokens) maskFactors<Columns>(r.mask, sequence, static_cast<int>(column), mask[0]);
#pragma unroll
    for (int i = Columns; i < Ring::kSteps * Columns; ++i)
      mask[i / Columns][i % Columns] = mask[0][i % Columns];

    T* du = a.du + first * uWidth + uColumn;
    T* dskip = a.dskip ? a.dskip + first * width + column : nullptr;
    const int64_t stride = sign * width, uStride = sign * uWidth, block = a.tiles.own;
    // Nothing but dL/dc depends on the step before. A stage has its branches before and after its steps, so
    // that the steps' gates are computed beside one another. `left` counts the tokens of a stage that is not
    // whole, and the last of them is the sequence's first.
    const auto stage = [&](const typename Ring::Rows& rows, int64_t token, auto whole, int left) {
      constexpr bool kWhole = decltype(whole)::value;
      float z[Ring::kSteps][Columns], dz[Ring::kSteps][Columns], df[Ring::kSteps][Columns];
      [[maybe_unused]] float dg[Ring::kSteps][Columns], dx[Ring::kSteps][Columns];
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
        float f[Columns], dh[Columns], before[Columns];
        [[maybe_unused]] float g[Columns], x[Columns];
        rows.unpack(s, 1, f);
        if constexpr (kReset) rows.unpack(s, 2, g);
        if constexpr (kSkip) rows.unpack(s, 3, x);
        rows.unpack(s, kGradient, dh);
        rows.unpack(s, kCells, before);
#pragma unroll
        for (int v = 0; v < Columns; ++v) {
          if (!kWhole && s + 1 == left) before[v] = start[v];
          float through = mask[s][v] * dh[v], across = 0;
          if constexpr (kReset) {
            const float open = reset.open(g[v], before[v], v);
            through *= open;
            const float skip = kSkip ? r.skipScale * x[v] : 0.0f;
            dg[s][v] = through * (cell[v] - skip) * (1.0f - open);
            dx[s][v] = r.skipScale * (dh[v] - through);
            across = dg[s][v] * reset.weight[v];
            resetSums.add(dg[s][v], before[v], v);
          }
          const float open = forget.open(f[v], before[v], v), shut = 1.0f - open;
          const float slope = open * shut * (before[v] - z[s][v]);
          const float gradient = through + running[v];
          df[s][v] = gradient * slope;
          dz[s][v] = gradient * shut;
          running[v] = fmaf(gradient, fmaf(slope, forget.weight[v], open), across);
          forgetSums.add(df[s][v], before[v], v);
          cell[v] = before[v];
        }
      }
      if (r.tanhCandidate) {
#pragma unroll
        for (int i = 0; i < Ring::kSteps * Columns; ++i) {
          const float value = z[i / Columns][i % Columns];
          if (kWhole || i / Columns < left) dz[i / Columns][i % Columns] *= fmaf(-value, value, 1.0f);
        }
      }
      if (inside) {
        [[maybe_unused]] T* const skipTarget = dskip ? dskip : du + 3 * block;
        [[maybe_unused]] const int64_t skipStride = dskip ? stride : uStride;
#pragma unroll
        for (int s = 0; s < Ring::kSteps; ++s) {
          if (!kWhole && s >= left) break;
          writeColumns<T, Columns>(du + s * uStride, dz[s]);
          writeColumns<T, Columns>(du + s * uStride + block, df[s]);
          if constexpr (kReset) writeColumns<T, Columns>(du + s * uStride + 2 * block, dg[s]);
          if constexpr (kSkip) writeColumns<T, Columns>(skipTarget + s * skipStride, dx[s]);
        }
      }
      du += Ring::kSteps * uStride;
      if (dskip) dskip += Ring::kSteps * stride;
    };

    for (int done = 0; done < count; done += Ring::kSteps) {
      typename Ring::Rows rows;
      ring.advance();
      ring.read(rows);
      const int64_t token = first + sign * done;
      if (done + Ring::kSteps < count) {
        stage(rows, token, std::true_type{}, Ring::kSteps);
      } else {
        stage(rows, token, std::false_type{}, count - done);
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
