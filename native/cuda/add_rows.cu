// table[indices[t]] += x[t] in a fixed order, from the indices sorted: equal ones are runs. Text has runs of
// one token and runs of thousands (the token that begins every sequence), so the sorted tokens are cut into
// pieces of 32, a warp for each: runs inside a piece go to the table at once, those that cross its ends leave
// partial sums. A second kernel adds up the partial sums of each crossing run, in the order of the pieces.
#include "cuda/common.cuh"

namespace gradcache::cuda {

namespace {

constexpr int kPiece = 32;  // tokens: one for each lane to read the index of
constexpr int kPieceWarps = 8;
// Rows loaded before the first is added.
template <class T>
constexpr int kRowsAhead = Vector<T>::kPieces == 1 ? 8 : 4;
constexpr int kRunWarps = 8;

template <class T>
struct AddRows {
  const T* x;
  const int64_t *sorted, *order;
  float *table,
      *partials;  // partials [pieces, 2, width]: the run that came into the piece, and the one that leaves it
  int tokens, vectors, pieces;
};

__device__ __forceinline__ void addTo(float* values, const float* more) {
#pragma unroll
  for (int i = 0; i < kVectorWidth; ++i) values[i] += more[i];
}

__device__ __forceinline__ void addToTable(float* table, int64_t row, int vectors, int vector,
                                           const float* sums) {
  float values[kVectorWidth];
  const int64_t at = row * vectors + vector;
  unpack(loadStreaming(table, at), values);
  addTo(values, sums);
  store(table, at, pack<float>(values));
}

// A warp for 32 sorted tokens (blockIdx.x, warp) and 32 vectors of the row (blockIdx.y).
template <class T>
__global__ __launch_bounds__(kPieceWarps * 32) void addPiecesKernel(const AddRows<T> a) {
  constexpr int kAhead = kRowsAhead<T>;
  const int lane = threadIdx.x & 31;
  const int piece = blockIdx.x * kPieceWarps + (threadIdx.x >> 5);
  if (piece >= a.pieces) return;
  const int begin = piece * kPiece;
  const int count = min(kPiece, a.tokens - begin);
  const int vector = blockIdx.y * 32 + lane;
  const bool inside = vector < a.vectors;

  const int64_t index = lane < count ? a.sorted[begin + lane] : -1;
  const int64_t token = lane < count ? a.order[begin + lane] : 0;
  const int64_t before = begin > 0 ? a.sorted[begin - 1] : -1;
  const int64_t after = begin + count < a.tokens ? a.sorted[begin + count] : -1;
  const int64_t previous = __shfl_up_sync(0xffffffffu, index, 1);
  const uint32_t starts = __ballot_sync(0xffffffffu, lane > 0 && lane < count && index != previous);

  float sums[kVectorWidth] = {};
  int runBegin = 0;
  auto finish = [&](int runEnd) {
    const int64_t row = __shfl_sync(0xffffffffu, index, runEnd - 1);
    if (!inside) return;
    const bool came = runBegin == 0 && before == row, leaves = runEnd == count && after == row;
    if (came || leaves) {
      store(a.partials, (static_cast<int64_t>(piece) * 2 + (came ? 0 : 1)) * a.vectors + vector,
            pack<float>(sums));
    } else {
      addToTable(a.table, row, a.vectors, vector, sums);
    }
  };
#pragma unroll 1
  for (int group = 0; group < count; group += kAhead) {
    Vector<T> rows[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int64_t from = __shfl_sync(0xffffffffu, token, group + j);
      if (inside && group + j < count) rows[j] = loadStreaming(a.x, from * a.vectors + vector);
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int k = group + j;
      if (k < count) {
        if (starts >> k & 1) {
          finish(k);
          runBegin = k;
#pragma unroll
          for (int i = 0; i < kVectorWidth; ++i) sums[i] = 0;
        }
        if (inside) {
          float values[kVectorWidth];
          unpack(rows[j], values);
          addTo(sums, values);
        }
      }
    }
  }
  finish(count);
}

// A block for the run that leaves piece blockIdx.x, where that run began in it, and 32 vectors of the row
// (blockIdx.y). Warp w adds up every eighth partial sum from w on, then the warps' sums are added up in their
// order.
template <class T>
__global__ __launch_bounds__(kRunWarps * 32) void addRunsKernel(const AddRows<T> a) {
  __shared__ float4 meeting[kRunWarps][2][32];
  const int piece = blockIdx.x,
            end = (piece + 1) * kPiece;  // the last piece is not launched for: nothing leaves it
  const int64_t row = a.sorted[end - 1];
  if (a.sorted[end] != row) return;
  // A run that fills the piece and came from the one before began there.
  if (piece > 0 && a.sorted[end - kPiece] == row && a.sorted[end - kPiece - 1] == row) return;

  // The last piece that begins inside the run.
  int last = piece + 1, beyond = a.pieces;
  while (beyond - last > 1) {
    const int middle = last + (beyond - last) / 2;
    if (a.sorted[middle * kPiece] == row) {
      last = middle;
    } else {
      beyond = middle;
    }
  }

  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int vector = blockIdx.y * 32 + lane;
  const bool inside = vector < a.vectors;
  float sums[kVectorWidth] = {};
  if (inside) {
#pragma unroll 4
    for (int p = piece + warp; p <= last; p += kRunWarps) {
      float values[kVectorWidth];
      unpack(loadStreaming(a.partials,
                           (static_cast<int64_t>(p) * 2 + (p == piece ? 1 : 0)) * a.vectors + vector),
             values);
      addTo(sums, values);
    }
  }
  meeting[warp][0][lane] = make_float4(sums[0], sums[1], sums[2], sums[3]);
  meeting[warp][1][lane] = make_float4(sums[4], sums[5], sums[6], sums[7]);
  __syncthreads();
  if (warp > 0 || !inside) return;
#pragma unroll
  for (int w = 1; w < kRunWarps; ++w) {
    const float4 low = meeting[w][0][lane], high = meeting[w][1][lane];
    const float values[kVectorWidth] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    addTo(sums, values);
  }
  addToTable(a.table, row, a.vectors, vector, sums);
}

template <class T>
cudaError_t launch(const AddRows<T>& a, cudaStream_t stream) {
  const auto stretches = static_cast<unsigned>(ceilDivide(a.vectors, 32));
  addPiecesKernel<<<dim3(static_cast<unsigned>(ceilDivide(a.pieces, kPieceWarps)), stretches),
                    kPieceWarps * 32, 0, stream>>>(a);
  if (cudaError_t error = cudaGetLastError()) return error;
  if (a.pieces == 1) return cudaSuccess;
  addRunsKernel<<<dim3(static_cast<unsigned>(a.pieces - 1), stretches), kRunWarps * 32, 0, stream>>>(a);
  return cudaGetLastError();
}

}  // namespace

}  // namespace gradcache::cuda

using namespace gradcache::cuda;

size_t gradcache_add_rows_scratch(const GradcacheRows* rows) {
  if (checkRows(rows)) return 0;
  return static_cast<size_t>(ceilDivide(rows->tokens, kPiece) * 2 * rows->width) * sizeof(float);
}

int gradcache_add_rows(const GradcacheRows* rows, const void* x, const int64_t* sorted, const int64_t* order,
                       float* table, void* scratch) {
  if (cudaError_t error = checkRows(rows)) return error;
  if (cudaError_t error = checkAligned(x, table, scratch)) return error;
  if (rows->tokens == 0) return cudaSuccess;
  return withType(rows->type, [&](auto type) {
    using T = decltype(type);
    AddRows<T> a{};
    a.x = static_cast<const T*>(x);
    a.sorted = sorted;
    a.order = order;
    a.table = table;
    a.partials = static_cast<float*>(scratch);
    a.tokens = static_cast<int>(rows->tokens);
    a.vectors = static_cast<int>(rows->width / kVectorWidth);
    a.pieces = static_cast<int>(ceilDivide(rows->tokens, kPiece));
    return launch(a, static_cast<cudaStream_t>(rows->stream));
  });
}
