/**
 * Operators that models and losses are written with, for calls with random arguments. libtorch's private ones (with an
 * underscore, or ending in _backward) are not among them, but for those that this package itself calls: they trust their
 * caller, and crash from Python in the same way.
 */
export const operators: readonly string[] = `
_foreach_mul_.Scalar _foreach_norm.Scalar _fused_adamw_ abs add.Scalar add.Tensor addcmul addmm all amax
amin any arange arange.start arange.start_step argmax argmin argsort as_strided avg_pool2d baddbmm bernoulli
bincount bitwise_and.Tensor bmm bucketize.Tensor cat ceil chunk clamp clamp_max clamp_min clone
constant_pad_nd conv1d conv2d copy_ cos cosine_similarity cross_entropy_loss cumsum detach diag diagonal
div.Tensor div.Tensor_mode dot dropout einsum elu embedding empty.memory_format empty_like
eq.Scalar eq.Tensor erf exp expand eye fill_.Scalar flatten.using_ints flip floor floor_divide full
full_like gather ge.Scalar gelu glu gt.Tensor hardtanh index.Tensor index_add index_copy
index_fill.int_Scalar index_put index_select isfinite isnan kthvalue l1_loss layer_norm leaky_relu
lerp.Scalar linalg_norm linalg_vector_norm linear linspace log log1p log_softmax.int logaddexp logical_not
logsumexp lt.Scalar masked_fill.Scalar masked_fill_.Scalar masked_select matmul max max.dim max_pool2d
maximum mean mean.dim median min.dim minimum mm mse_loss mul.Scalar mul.Tensor multinomial mv narrow
native_layer_norm ne.Scalar neg nll_loss_nd nonzero norm.Scalar normal_ one_hot ones permute
pow.Tensor_Scalar pow.Tensor_Tensor prod quantile rand randint randn randperm reciprocal relu relu_ repeat
repeat_interleave.self_int reshape resize_ roll rsqrt rsub.Scalar scaled_dot_product_attention scatter.src
scatter_add searchsorted.Tensor select.int set_ set_.source_Tensor sgn sigmoid sign silu sin slice.Tensor
smooth_l1_loss softmax.int softplus sort split.Tensor split_with_sizes sqrt squeeze.dim stack std.correction
sub.Tensor sub_.Tensor sum sum.dim_IntList svd t t_ take_along_dim tanh tensor_split.sections tile to.device
to.dtype to.dtype_layout topk trace transpose.int tril triu true_divide.Tensor trunc unbind.int unfold
uniform_ unique_dim unsqueeze unsqueeze_ var.dim view view.dtype where.ScalarOther where.self zero_ zeros
zeros_like
`
  .split(/\s+/)
  .filter((name) => name !== '')
  .map((name) => `aten::${name}`);
