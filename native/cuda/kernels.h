/* The CUDA kernels as a library of C functions: plain CUDA, nothing of libtorch, so that one build serves
 * every libtorch minor. Pointers are device memory unless said otherwise; all functions enqueue on `stream`
 * and return at once with a cudaError_t (0: success). Rows are contiguous. Types: the library computes in
 * float32 whatever it stores.
 *
 * Nothing is allocated here: a function that needs scratch memory has a companion that tells how many bytes.
 * Scratch needs no initialisation. Every result is a pure function of the arguments: sums are taken in a
 * fixed order, and no atomic addition of floating-point numbers is used. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/dropout_key.h"

#define GRADCACHE_CUDA_ABI 13

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { GRADCACHE_FLOAT32 = 0, GRADCACHE_BFLOAT16 = 1, GRADCACHE_FLOAT16 = 2 } GradcacheType;
typedef enum {
  GRADCACHE_GELU = 0,
  GRADCACHE_GELU_TANH = 1,
  GRADCACHE_RELU = 2,
  GRADCACHE_SILU = 3
} GradcacheActivation;
typedef enum {
  GRADCACHE_MEAN = 0,
  GRADCACHE_CLS = 1,
  GRADCACHE_MAX = 2,
  GRADCACHE_LAST = 3
} GradcachePooling;

/* A row of `tokens` x `width`; width is a multiple of 8 and at most 2048 for norms, at most 4096 for
 * pooling, any for dropout, any multiple of 8 elsewhere. */
typedef struct {
  GradcacheType type; /* of x, y, weights and gradients of activations; statistics and parameter gradients are
                         float32 */
  int64_t tokens, width;
  void* stream; /* cudaStream_t */
} GradcacheRows;

int gradcache_cuda_abi(void);
/* cudaGetErrorString */
const char* gradcache_cuda_error(int code);

/* What the driver says of this machine, without taking any of a card's memory. CUDA versions are 1000 * major
 * + 10 * minor; `driver` is the newest that it serves, 0 where there is no driver; `built` is the library's
 * own. `devices` are those that the process may see. All are set whatever the cudaError_t returned. */
int gradcache_cuda_driver(int* driver, int* built, int* devices);
/* Compute capability and name of one of them; the name is cut to `size` bytes with its end. */
int gradcache_cuda_device(int index, int* major, int* minor, char* name, size_t size);

/* y = x without what the key drops, the rest scaled; the rows are those that `numbers` [tokens] counts. The
 * width may be any; x and y may be the same. */
int gradcache_dropout(const GradcacheRows* rows, const void* x, const int64_t* numbers,
                      gradcache::DropoutKey key, void* y);

/* y = norm(residual + dropout(x + bias)) * (scale + offset) + shift. bias, residual and shift may be null.
 * With rootSquare the norm divides by the root of the mean square, as if the mean were 0. sum [tokens,
 * width], mean and rstd [tokens] float32 are saved where they are not null. y is the same, bit for bit, with
 * and without saving. yStride is from one of its rows to the next: at least the width, a multiple of 8. */
int gradcache_norm_forward(const GradcacheRows* rows, const void* x, const void* bias, const void* residual,
                           const void* scale, const void* shift, int rootSquare, float offset, float epsilon,
                           gradcache::DropoutKey key, void* y, int64_t yStride, void* sum, float* mean,
                           float* rstd);

/* Two norms of one kind with a sum between them: of a branch, and of what it is added to. */
typedef struct {
  const void *x, *bias, *residual;                     /* [tokens, width]; bias [width] may be null */
  const void *innerScale, *innerShift, *scale, *shift; /* [width]; shifts may be null */
  int rootSquare;
  float offset, epsilon;
} GradcacheSandwich;
/* innerSum = x + bias, sum = residual + dropout(norm(innerSum) * (innerScale + offset) + innerShift), y =
 * norm(sum) * (scale + offset) + shift, to the bits of two calls of gradcache_norm_forward. All results but y
 * may be null. */
int gradcache_sandwich_norm_forward(const GradcacheRows* rows, const GradcacheSandwich* s,
                                    gradcache::DropoutKey key, void* y, int64_t yStride, void* sum,
                                    float* mean, float* rstd, void* innerSum, float* innerMean,
                                    float* innerRstd);

/* dsum = dL/d(residual + dropout(x + bias)), with `beside` [tokens, width] added where it is not null; dx =
 * dL/dx (may be null or equal to dsum where the key drops nothing); y is the forward's output again (may be
 * null). Strides are as yStride above. Adds to the float32 gradients, which may be null; the mean may be null
 * with rootSquare. */
size_t gradcache_norm_backward_scratch(const GradcacheRows* rows);
int gradcache_norm_backward(const GradcacheRows* rows, const void* dy, const void* beside,
                            int64_t besideStride, const void* sum, const float* mean, const float* rstd,
                            const void* scale, const void* shift, int rootSquare, float offset,
                            gradcache::DropoutKey key, void* dsum, int64_t dsumStride, void* dx,
                            int64_t dxStride, void* y, float* scaleGradient, float* shiftGradient,
                            float* biasGradient, void* scratch);
/* Of two norms without shift, between which nothing drops out. */
typedef struct {
  const void *dy, *beside; /* beside may be null */
  int64_t besideStride;
  const void* sum;
  const float *mean, *rstd; /* means may be null with rootSquare */
  const void* scale;
  const void* innerSum;
  const float *innerMean, *innerRstd;
  const void* innerScale;
  int rootSquare;
  float offset;
} GradcacheSandwichBackward;
/* dsum [tokens, width] as gradcache_norm_backward has it, dx = dL/d(innerSum), y (may be null) the outer
 * norm's output again. Strides are given for null pointers too, here and there. Adds to the float32 gradients
 * of the scales. Scratch as for gradcache_norm_backward. */
int gradcache_sandwich_norm_backward(const GradcacheRows* rows, const GradcacheSandwichBackward* s,
                                     void* dsum, void* dx, int64_t dxStride, void* y, float* scaleGradient,
                                     float* innerScaleGradient, void* scratch);

/* sum = words[ids] + positions[places] + type (a single row, or null); y = dropout(norm(sum) * scale +
 * shift). */
int gradcache_embedding_forward(const GradcacheRows* rows, const void* words, const int64_t* ids,
                                const void* positions, const int64_t* places, const void* type,
                                const void* scale, const void* shift, float epsilon,
                                gradcache::DropoutKey key, void* y, void* sum, float* mean, float* rstd);
/* dsum = dL/d(sum), through the dropout behind the norm and the norm; adds to the gradients of scale and
 * shift, and (where not null) the sum over tokens of dsum to typeGradient. Scratch as for
 * gradcache_norm_backward. */
int gradcache_embedding_backward(const GradcacheRows* rows, const void* dy, const void* sum,
                                 const float* mean, const float* rstd, const void* scale, const void* shift,
                                 gradcache::DropoutKey key, void* dsum, float* scaleGradient,
                                 float* shiftGradient, float* typeGradient, void* scratch);

/* table[indices[t]] += x[t] in float32, in a fixed order. `sorted` are the indices in rising order and
 * `order` the tokens they came from (a stable sort). */
size_t gradcache_add_rows_scratch(const GradcacheRows* rows);
int gradcache_add_rows(const GradcacheRows* rows, const void* x, const int64_t* sorted, const int64_t* order,
                       float* table, void* scratch);

/* y = f(x + bias). bias may be null; y may be x. */
int gradcache_activation_forward(const GradcacheRows* rows, GradcacheActivation kind, const void* x,
                                 const void* bias, void* y);
/* dx = dL/dx (may be dy), y = the forward's output again (may be x); adds to the bias's float32
 * gradient, which may be null. */
size_t gradcache_activation_backward_scratch(const GradcacheRows* rows);
int gradcache_activation_backward(const GradcacheRows* rows, GradcacheActivation kind, const void* dy,
                                  const void* x, const void* bias, void* dx, void* y, float* biasGradient,
                                  void* scratch);

/* y [tokens, width], with yStride as for norms, = f(gate) * up, where x [tokens, 2 * width] is gate and up,
 * in this order or (gateFirst 0) the other; bias [2 * width], or null, is added to both. `rows` has the width
 * of y. */
int gradcache_gate_forward(const GradcacheRows* rows, GradcacheActivation kind, int gateFirst, const void* x,
                           const void* bias, void* y, int64_t yStride);
/* dx = dL/dx [tokens, 2 * width] with dxStride (x itself where that is 2 * width), y = the forward's output
 * again; adds to the bias's float32 gradient, which may be null. */
size_t gradcache_gate_backward_scratch(const GradcacheRows* rows);
int gradcache_gate_backward(const GradcacheRows* rows, GradcacheActivation kind, int gateFirst,
                            const void* dy, const void* x, const void* bias, void* dx, int64_t dxStride,
                            void* y, float* biasGradient, void* scratch);

/* What queries and keys go through before attention. Rows are the heads of queries, then those of keys, then
 * whatever there is: values are left alone. Strides are from one row to the next, multiples of 8. */
typedef struct {
  GradcacheType type;
  int64_t tokens;
  int32_t queries, keys, size;       /* heads, and features of each: 32, 64, 128 or 256 */
  const float *cosines, *sines;      /* [positions, size / 2], or null: nothing is turned */
  const int64_t* positions;          /* [tokens] */
  const void *queryScale, *keyScale; /* [size] of `type`, or null: there is no norm */
  float epsilon, offset;             /* of the norms; the offset is added to their scales */
  void* stream;
} GradcacheHeads;

/* prepared = turned(norm(head)) of each head of queries and keys; it may be qkv. */
int gradcache_heads_forward(const GradcacheHeads* heads, const void* qkv, int64_t stride, void* prepared,
                            int64_t preparedStride);
/* dL/dqkv, written over `gradient`, which is that of the prepared rows. qkv is the forward's, null without
 * norms. Adds to the float32 gradients of the scales, [size], which may be null. */
size_t gradcache_heads_backward_scratch(const GradcacheHeads* heads);
int gradcache_heads_backward(const GradcacheHeads* heads, const void* qkv, int64_t stride, void* gradient,
                             int64_t gradientStride, float* queryGradient, float* keyGradient, void* scratch);

/* gradient += sum over tokens of x. */
size_t gradcache_column_sum_scratch(const GradcacheRows* rows);
int gradcache_column_sum(const GradcacheRows* rows, const void* x, float* gradient, void* scratch);

/* y [sequences, width] float32: the mean of each sequence's tokens, its first or last token, or the largest
 * value of each column (NaN before all others). The sequences are the tokens between neighbouring ones of the
 * rising `offsets` [sequences + 1], from 0 to `tokens`. Where norms [sequences] is not null, it gets the
 * Euclidean norm of each row, and y is divided by it or by 1e-12, whichever is more. argmax [sequences,
 * width], of GRADCACHE_MAX alone, gets the first of the tokens that have the largest value. */
int gradcache_pool_forward(const GradcacheRows* rows, const int32_t* offsets, int32_t sequences,
                           GradcachePooling pooling, const void* x, float* y, float* norms, int32_t* argmax);
/* dx [tokens, width] = dL/dx from dy [sequences, width] float32; y (null where norms is), norms and argmax
 * are the forward's. A largest value's gradient goes to its first token. */
int gradcache_pool_backward(const GradcacheRows* rows, const int32_t* offsets, int32_t sequences,
                            GradcachePooling pooling, const float* dy, const float* y, const float* norms,
                            const int32_t* argmax, void* dx);

/* Attention over packed sequences of at most gradcache_attention_longest() tokens, bfloat16. Each of the
 * keyHeads heads of keys and of values serves heads / keyHeads heads of queries, neighbours. A query sees the
 * keys from `before` places before its own to `after` behind it. */
typedef struct {
  const int32_t* offsets; /* [sequences + 1] */
  int32_t sequences, longest, heads, keyHeads;
  int32_t size;          /* of one head */
  int32_t before, after; /* at least 0; longest - 1 or more: all that there are */
  int64_t tokens;
  void* stream;
} GradcacheSequences;

/* 0: there is no kernel for heads of this size. general: there are fewer heads of keys, or some query does
 * not see every key; dropped: there is dropout or a distance bias. */
int gradcache_attention_longest(int32_t size, int32_t general, int32_t dropped);
/* What attention reads. Strides are from one row to the next, multiples of 8. */
typedef struct {
  const void* queriesKeys; /* [tokens, (heads + keyHeads) * size] */
  int64_t stride;
  const void* values; /* [tokens, keyHeads * size]; they may lie behind the keys */
  int64_t valueStride;
} GradcacheHeadRows;

/* out [tokens, heads * size] with outStride; normalizer [heads, tokens] float32: log of the softmax's
 * denominator. distanceBias [heads, 2 * longest - 1] bfloat16 or null. The dropout's row is token * heads +
 * head, its column the key's place in the sequence. */
int gradcache_attention_forward(const GradcacheSequences* s, const GradcacheHeadRows* rows,
                                const void* distanceBias, float scale, gradcache::DropoutKey key, void* out,
                                int64_t outStride, float* normalizer);
/* dqkv [tokens, (heads + 2 * keyHeads) * size] with dqkvStride, from dout [tokens, heads * size]. */
int gradcache_attention_backward(const GradcacheSequences* s, const void* dout, const GradcacheHeadRows* rows,
                                 const void* out, int64_t outStride, const float* normalizer,
                                 const void* distanceBias, float scale, gradcache::DropoutKey key, void* dqkv,
                                 int64_t dqkvStride);

/* Scores of queries with keys: rows of one query and head. */
typedef struct {
  int64_t rows, width;       /* width: keys of a query, at most 1024 */
  const unsigned char* seen; /* [rows / rowsOfSeen, width]: 0 where a key is not seen; or null: all are */
  int64_t rowsOfSeen;        /* neighbours that see the same keys */
  const int64_t* numbers;    /* [rows], by which dropout counts them; may be null where it drops nothing */
  void* stream;
} GradcachePairs;
/* p = dropout(softmax(scores)) over the keys that are seen; may be scores. */
int gradcache_softmax_forward(const GradcachePairs* pairs, const float* scores, gradcache::DropoutKey key,
                              float* p);
/* p as above, and dscores = dL/dscores from dp = dL/dp; they may be scores and dp. */
int gradcache_softmax_backward(const GradcachePairs* pairs, const float* scores, const float* dp,
                               gradcache::DropoutKey key, float* p, float* dscores);

/* The recurrence of SRU and QRNN over packed sequences; kernels/recurrence/recurrence.h has the equations. A
 * sequence may be empty. */
typedef struct {
  GradcacheType type; /* of u, skip, cellWeights, bias, h, cells and their gradients; states are float32 */
  const int32_t* offsets; /* [sequences + 1] */
  int32_t sequences;
  int64_t tokens, width; /* width: of h; that of each direction is a multiple of 8 */
  int32_t projections;   /* 2, 3 or 4 */
  int32_t direction;     /* 0: from the first token, 1: from the last, 2: half of the columns each */
  int32_t tanhCandidate;
  int32_t maskPerToken; /* else the mask's row is the number of the sequence */
  float skipScale;
  gradcache::DropoutKey mask;
  const void* u;           /* [tokens, projections * width] */
  const void* skip;        /* [tokens, width], with three projections; or null */
  const void* cellWeights; /* [gates, width] or null; one gate with two projections, else two */
  const void* bias;        /* [gates, width] or null */
  const float* state;      /* [sequences, width] or null */
  void* stream;
} GradcacheRecurrence;

/* h [tokens, width]; cells [tokens, width], which the backward needs, or null; last [sequences, width]. */
int gradcache_recurrence_forward(const GradcacheRecurrence* r, void* h, void* cells, float* last);
/* From dh [tokens, width] and dlast [sequences, width] (or null): du, dskip (null where skip is) and dstate.
 * Adds to the float32 gradients of cellWeights and bias, which may be null. */
size_t gradcache_recurrence_backward_scratch(const GradcacheRecurrence* r);
int gradcache_recurrence_backward(const GradcacheRecurrence* r, const void* dh, const float* dlast,
                                  const void* cells, void* du, void* dskip, float* dstate,
                                  float* cellWeightsGradient, float* biasGradient, void* scratch);

/* The scores of rows with columns, factor * <x_i, y_j>, in half precision with sums in float32, without a
 * matrix of them. Logarithms are to base 2 throughout. */
typedef struct {
  GradcacheType type;         /* GRADCACHE_BFLOAT16 or GRADCACHE_FLOAT16 */
  const void *rows, *columns; /* [rowCount, width] and [columnCount, width] */
  int64_t rowCount, columnCount, width, rowStride, columnStride; /* widths and strides: multiples of 8 */
  double factor;                                                 /* more than 0 */
  float bound; /* about the largest absolute score, or infinity where unknown: one that is too small costs
                  time, and changes nothing else */
  int32_t leavesOut; /* 1: the pairs (i, i + leftOut) are left out */
  int64_t leftOut;
  /* targetCount lists [rowCount], targetStride apart: the pairs (i, list[i] - firstColumn) are left out too.
   * A few do not slow the kernels down. */
  const int32_t* targets;
  int32_t targetCount;
  int64_t targetStride, firstColumn;
  void* stream;
} GradcacheScores;

/* Adds up 2^(score * log2(e)) for each row, and where `columns` is not null for each column, in one sweep. A
 * sum is two floats: log2(sum) = [0] + log2([1]). rows [rowCount, 2] and columns [columnCount, 2] hold what
 * was added up before, at first (-infinity, 0), so that a large matrix can be taken in parts. */
size_t gradcache_scores_statistics_scratch(const GradcacheScores* s, int columns);
int gradcache_scores_statistics(const GradcacheScores* s, float* rows, float* columns, void* scratch);

/* target [rowCount, columnCount], of `type`, stride a multiple of 8: 2^(score * log2(e) - rowNormalizers[i])
 * + 2^(score * log2(e) - columnNormalizers[j]); the latter may be null. A normalizer of infinity leaves its
 * part out; log2(sum) - log2(w) makes it a probability of weight w. Nothing beyond the columns is written.
 * `rest`, like target, gets what rounding to float16 takes from it, so that both together have 22 bits; null:
 * it is lost. */
size_t gradcache_scores_probabilities_scratch(const GradcacheScores* s);
int gradcache_scores_probabilities(const GradcacheScores* s, const float* rowNormalizers,
                                   const float* columnNormalizers, void* target, void* rest, int64_t stride,
                                   void* scratch);

/* The same of weight / (1 + e^-z) with z = score + bias, 0 for pairs that are left out. Adds for each row to
 * losses [rowCount] the sum of log(1 + e^z), and to sums [rowCount] that of weight / (1 + e^-z). */
size_t gradcache_scores_sigmoid_scratch(const GradcacheScores* s);
int gradcache_scores_sigmoid(const GradcacheScores* s, double bias, float weight, void* target, void* rest,
                             int64_t stride, float* losses, float* sums, void* scratch);

/* Scores at several lengths of the same rows and columns: of their first lengths[k] numbers, times
 * rowFactors[k, i] * columnFactors[k, j], which make a cosine of it. Of pairs, sums and tiles are those of
 * GradcacheScores at each length. All exponentials are taken from one reference, so that its bound must hold
 * at every length. A device or lengths that the kernels do not take have a scratch of 0 bytes. */
#define GRADCACHE_MOST_LENGTHS 8
typedef struct {
  int32_t count;
  /* Bit k: the tile of length k is the sum of its numbers and those of the next length. Not the last length,
   * nor two in a row. */
  uint32_t joined;
  int64_t lengths[GRADCACHE_MOST_LENGTHS]; /* rising multiples of 64, the last of them the width */
  const float *rowFactors, *columnFactors; /* [count, rowCount], [count, columnCount] */
  int64_t rowFactorStride, columnFactorStride;
} GradcacheLengths;

/* Whether the current device takes these lengths; their factors are not read. */
int gradcache_nested_takes(const GradcacheLengths* lengths);
/* The power of two that sums are taken from; negative for a bound that is too far from 0 for one. */
float gradcache_nested_reference(float bound);
/* Adds to rows [count, rowCount] and columns [count, columnCount], or null, the sums of 2^(score * log2(e) -
 * reference). */
size_t gradcache_nested_statistics_scratch(const GradcacheScores* s, const GradcacheLengths* lengths,
                                           int columns);
int gradcache_nested_statistics(const GradcacheScores* s, const GradcacheLengths* lengths, float* rows,
                                int64_t rowStride, float* columns, int64_t columnStride, void* scratch);

typedef struct {
  float of[GRADCACHE_MOST_LENGTHS];
} GradcacheNestedWeights;

typedef struct {
  GradcacheNestedWeights weights;
  /* In powers of two: [count, rowCount], [count, columnCount]; the latter null for a softmax over rows alone.
   * Infinity leaves a row's or a column's softmax out. */
  const float *rowNormalizers, *columnNormalizers;
  int64_t rowNormalizerStride, columnNormalizerStride;
  /* Of the type of the operands, one for each length, below the one before: rowCount up to a multiple of 256
   * rows, rows `stride` apart, a multiple of 8. */
  void* tiles;
  int64_t stride;
  /* What the gradients of a joined length, times its dot products, add up to in each row and column: is
   * added to. Those of other lengths follow from the products of their tiles. */
  float *rowTurns, *columnTurns;
  int64_t rowTurnStride, columnTurnStride;
} GradcacheNested;

/* Fills tiles with weights[k] * (2^(score - row's normalizer) + 2^(score - column's)) * rowFactors[k, i] *
 * columnFactors[k, j]. With normalizers of columns the bound must be 72 or less. */
size_t gradcache_nested_tiles_scratch(const GradcacheScores* s, const GradcacheLengths* lengths);
int gradcache_nested_tiles(const GradcacheScores* s, const GradcacheLengths* lengths,
                           const GradcacheNested* nested, void* scratch);

/* operand [rowCount, width up to a multiple of 8] of `type` = rows [rowCount, width] * factors[i] * scale, 0
 * beyond the width; factors may be null. parts 1 or 2, of float16: three parts beside one another, low, high,
 * high or high, low, high. `high` is the nearest whole number, and `low` what it lacks. */
int gradcache_scores_operand(GradcacheType type, const float* rows, int64_t rowCount, int64_t width,
                             int64_t stride, const float* factors, float scale, int32_t parts, void* operand,
                             void* stream);
/* With u = rows[i] * factors[i], of length 1: gradient[i] = weight * factors[i] * (gradient[i] - u <u,
 * gradient[i]>), in place. */
int gradcache_unit_gradient(const float* rows, int64_t rowCount, int64_t width, int64_t stride,
                            const float* factors, float weight, float* gradient, int64_t gradientStride,
                            void* stream);

#ifdef __cplusplus
}
#endif
