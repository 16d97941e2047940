"""libtorch's own flash attention under the name of the package that transformers looks for.

transformers runs unpadded only where flash_attn is installed, which has to be compiled for each torch. libtorch holds the
same kernels as an operator, so the benchmark's rival gets them from there.
"""
import torch

__version__ = '2.8.3'


def flash_attn_varlen_func(q, k, v, cu_seqlens_q=None, cu_seqlens_k=None, max_seqlen_q=None, max_seqlen_k=None,
                           dropout_p=0.0, softmax_scale=None, causal=False, **ignored):
    """Attention over sequences that lie end to end: q, k, v are [tokens, heads, head dimension]."""
    return torch.ops.aten._flash_attention_forward(
        q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p, causal, False,
        scale=softmax_scale)[0]


def flash_attn_func(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, **ignored):
    """Attention over a padded batch: q, k, v are [batch, tokens, heads, head dimension]."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    out = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, dropout_p=dropout_p, is_causal=causal, scale=softmax_scale)
    return out.transpose(1, 2)


def flash_attn_with_kvcache(*arguments, **keywords):
    raise NotImplementedError('the benchmark generates no text')
