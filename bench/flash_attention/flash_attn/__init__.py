"""libtorch's own flash attention under the name of the package that transformers looks for.

transformers runs unpadded only where flash_attn is installed, which has to be compiled for each torch. libtorch holds the
same kernels as an operator, windows and grouped queries among them, so the benchmark's rival gets them from there. On a CPU,
where that operator does not exist, it goes text by text: that is for trying out, not for timing.
"""
import torch

__version__ = '2.8.3'


def flash_attn_varlen_func(q, k, v, cu_seqlens_q=None, cu_seqlens_k=None, max_seqlen_q=None, max_seqlen_k=None,
                           dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0,
                           deterministic=False):
    """Attention over sequences that lie end to end: q is [tokens, heads, head dimension], k and v may have fewer heads."""
    if softcap:
        raise NotImplementedError('the operator of libtorch has no soft cap')
    if not q.is_cuda:
        return text_by_text(q, k, v, cu_seqlens_q.tolist(), dropout_p, softmax_scale, causal, window_size)
    left, right = (None if size < 0 else size for size in window_size)
    return torch.ops.aten._flash_attention_forward(
        q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p, causal, False,
        scale=softmax_scale, window_size_left=left, window_size_right=right)[0]


def text_by_text(q, k, v, ends, dropout_p, scale, causal, window_size):
    out = []
    for begin, end in zip(ends, ends[1:]):
        places = torch.arange(end - begin)
        ahead = places[None] - places[:, None]
        left, right = window_size
        seen = torch.ones_like(ahead, dtype=torch.bool)
        if left >= 0:
            seen &= ahead >= -left
        if causal or right >= 0:
            seen &= ahead <= (0 if causal else right)
        queries, keys, values = (x[begin:end].transpose(0, 1)[None] for x in (q, k, v))
        out.append(torch.nn.functional.scaled_dot_product_attention(
            queries, keys, values, seen, dropout_p, scale=scale, enable_gqa=True)[0].transpose(0, 1))
    return torch.cat(out)


def flash_attn_func(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0,
                    deterministic=False):
    """Attention over texts of one length: q, k, v are [batch, tokens, heads, head dimension]."""
    batch, tokens = q.shape[:2]
    ends = torch.arange(0, (batch + 1) * tokens, tokens, dtype=torch.int32, device=q.device)
    out = flash_attn_varlen_func(
        *(x.flatten(0, 1) for x in (q, k, v)), ends, ends, tokens, tokens, dropout_p, softmax_scale, causal, window_size, softcap)
    return out.unflatten(0, (batch, tokens))


def flash_attn_with_kvcache(*arguments, **keywords):
    raise NotImplementedError('the benchmark generates no text')
