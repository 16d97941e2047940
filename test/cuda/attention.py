"""Checks and times the CUDA attention over packed sequences.

    python3 test/cuda/attention.py [--small] [--library build-cuda/libgradcache_cuda.so]

Forward and backward against a float64 reference on fresh random data: lengths from 0 to beyond a block, heads of 32 to 256,
fewer heads of keys, causal or within a window, dropout or none, with and without a bias of distances, the same bits from a
second run. Then the time of each next to flash attention's. --small checks tiny shapes only, for compute-sanitizer."""

import ctypes
import math
import random
import statistics
import sys

from kernels import DEVICE, Key, arguments, call, factor_at, library, make_key  # first: it decides how torch allocates
import torch

BF16 = torch.bfloat16
BANDWIDTH = 4.17e12  # bytes a second, read and written, of a copy on an H200


class Sequences(ctypes.Structure):
    _fields_ = [('offsets', ctypes.c_void_p), ('sequences', ctypes.c_int32), ('longest', ctypes.c_int32), ('heads', ctypes.c_int32),
                ('key_heads', ctypes.c_int32), ('size', ctypes.c_int32), ('before', ctypes.c_int32), ('after', ctypes.c_int32),
                ('tokens', ctypes.c_int64), ('stream', ctypes.c_void_p)]


class HeadRows(ctypes.Structure):
    _fields_ = [('queries_keys', ctypes.c_void_p), ('stride', ctypes.c_int64), ('values', ctypes.c_void_p), ('value_stride', ctypes.c_int64)]

    @staticmethod
    def of(queries_keys, values):
        return HeadRows(queries_keys.data_ptr(), queries_keys.stride(0), values.data_ptr(), values.stride(0))


P, S, L, FLOAT = ctypes.c_void_p, ctypes.POINTER(Sequences), ctypes.c_int64, ctypes.c_float
library.gradcache_attention_forward.argtypes = [S, ctypes.POINTER(HeadRows), P, FLOAT, Key, P, L, P]
library.gradcache_attention_backward.argtypes = [S, P, ctypes.POINTER(HeadRows), P, L, P, P, FLOAT, Key, P, L]
library.gradcache_attention_longest.argtypes = [ctypes.c_int32] * 3
ALL = 2**31 - 1  # of the keys before or behind a query


class Packed:
    """Sequences end to end, and the two calls on them."""

    def __init__(self, lengths, heads, size, key_heads=None, before=ALL, after=ALL):
        self.lengths, self.heads, self.size, self.key_heads = lengths, heads, size, key_heads or heads
        self.before, self.after = before, after
        self.tokens, self.longest = sum(lengths), max(lengths)
        self.width, self.scale = heads * size, 1.0 / math.sqrt(size)
        self.key_width = self.key_heads * size
        self.parts = [self.width, self.key_width, self.key_width]  # columns of queries, keys and values
        self.offsets = torch.tensor([0] + lengths).cumsum(0).to(DEVICE, torch.int32)

    def shape(self):
        return Sequences(self.offsets.data_ptr(), len(self.lengths), self.longest, self.heads, self.key_heads, self.size, self.before,
                         self.after, self.tokens, torch.cuda.current_stream().cuda_stream)

    def form(self):
        grouped = f'/{self.key_heads}' if self.key_heads < self.heads else ''
        seen = [f'-{self.before}' if self.before < ALL else '', f'+{self.after}' if self.after < ALL else '']
        return f'{self.heads}{grouped}x{self.size}{"".join(seen)}'

    def random(self, columns, deviation=1.0):
        return (torch.randn(self.tokens, columns, device=DEVICE) * deviation).to(BF16)

    def random_qkv(self, deviation=1.0):
        return self.random(sum(self.parts), deviation)

    def split(self, qkv):
        """Views [tokens, heads, size] of queries, keys and values."""
        return [part.view(self.tokens, -1, self.size) for part in qkv.split(self.parts, 1)]

    def rows(self, qkv, apart=0):
        """Queries and keys, and values: of one tensor, or of two with so many columns between their rows."""
        parts = qkv.split([self.width + self.key_width, self.key_width], 1)
        return [torch.cat([part, torch.full_like(part[:, :apart], math.nan)], 1)[:, :part.size(1)] for part in parts] if apart else parts

    def empty(self, columns, apart):
        return torch.full((self.tokens, columns + apart), math.nan, device=DEVICE, dtype=BF16)[:, :columns]

    def forward(self, qkv, bias, key, apart=0):
        out, rows = self.empty(self.width, apart), self.rows(qkv, apart)
        normalizer = torch.full((self.heads, self.tokens), math.nan, device=DEVICE)
        call('attention_forward', self.shape(), HeadRows.of(*rows), bias, self.scale, key, out, out.stride(0), normalizer)
        return out, normalizer

    def backward(self, dout, qkv, out, normalizer, bias, key, apart=0):
        dqkv, rows = self.empty(qkv.size(1), apart), self.rows(qkv, apart)
        call('attention_backward', self.shape(), dout, HeadRows.of(*rows), out, out.stride(0), normalizer, bias, self.scale, key, dqkv,
             dqkv.stride(0))
        return dqkv


# ---- checks ----------------------------------------------------------------------------------------------------------
failures = []


def reference(packed, qkv, dout, bias, key):
    """out, normalizer and dqkv in float64, one sequence after the other."""
    out, normalizer, dqkv = [], [], []
    place = 0
    for length in packed.lengths:
        if length == 0:
            continue
        rows = qkv[place:place + length].double().requires_grad_()
        q, k, v = (part.view(length, -1, packed.size).transpose(0, 1) for part in rows.split(packed.parts, 1))
        k, v = (part.repeat_interleave(packed.heads // packed.key_heads, 0) for part in (k, v))
        s = q @ k.transpose(1, 2) * packed.scale
        here = torch.arange(length, device=DEVICE)
        if bias is not None:
            s = s + bias.double()[:, here.view(1, -1) - here.view(-1, 1) + packed.longest - 1]
        distance = here.view(1, -1) - here.view(-1, 1)
        s = s.masked_fill((distance > packed.after) | (distance < -packed.before), -math.inf)
        p = s.softmax(2)
        if key.threshold:
            tokens = (place + here).view(1, -1, 1) * packed.heads + torch.arange(packed.heads, device=DEVICE).view(-1, 1, 1)
            p = p * factor_at(key, tokens, here.view(1, 1, -1))
        y = (p @ v).transpose(0, 1).reshape(length, packed.width)
        y.backward(dout[place:place + length].double())
        out.append(y.detach())
        normalizer.append(s.detach().logsumexp(2))
        dqkv.append(rows.grad)
        place += length
    return torch.cat(out), torch.cat(normalizer, 1), torch.cat(dqkv)


def close(name, got, expected, limit, floor=0.0):
    error = (got.double() - expected).norm().item() / max(expected.norm().item(), floor, 1e-30)
    if not error <= limit:
        failures.append(f'{name}: l2 {error:.2e}, at most {limit:.0e} expected')
    return error


def same(name, one, other):
    if not torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8)):
        failures.append(f'{name}: the bits differ between two runs')


def untouched(name, rows, apart):
    if apart and not rows.as_strided((rows.size(0), apart), rows.stride(), rows.size(1)).isnan().all():
        failures.append(f'{name}: wrote behind its rows')


def check(lengths, heads, size, probability=0.0, with_bias=False, **form):
    packed = Packed(lengths, heads, size, **form)
    name = f'attention {packed.form()} p={probability} bias={int(with_bias)} {len(lengths)} of {min(lengths)}..{packed.longest}'
    qkv, dout = packed.random_qkv(1.5), packed.random(packed.width)
    bias = torch.randn(heads, 2 * packed.longest - 1, device=DEVICE).to(BF16) if with_bias else None
    key = make_key(probability, seed=random.getrandbits(40), site=5)
    out, normalizer = packed.forward(qkv, bias, key)
    dqkv = packed.backward(dout, qkv, out, normalizer, bias, key)
    # Again with rows that lie apart.
    out2, normalizer2 = packed.forward(qkv, bias, key, apart=16)
    dqkv2 = packed.backward(dout, qkv, out2, normalizer, bias, key, apart=8)
    same(f'{name} out', out, out2)
    same(f'{name} normalizer', normalizer, normalizer2)
    same(f'{name} dqkv', dqkv, dqkv2)
    untouched(f'{name} out', out2, 16)
    untouched(f'{name} dqkv', dqkv2, 8)
    expected, expected_normalizer, expected_dqkv = reference(packed, qkv, dout, bias, key)
    got, want = dqkv.split(packed.parts, 1), expected_dqkv.split(packed.parts, 1)
    # With one key a sequence the gradients of queries and keys are zero, and what comes out is the rounding of `out`: it is
    # measured by the gradient of the values, and the other rows by their own size.
    counts = torch.tensor(lengths, device=DEVICE)
    single = counts.repeat_interleave(counts) == 1
    errors = [close(f'{name} out', out, expected, 4e-3), close(f'{name} normalizer', normalizer, expected_normalizer, 1e-5, 1.0),
              *(close(f'{name} {what}, one key', ours[single], theirs[single], 1e-2, want[2][single].norm().item())
                for what, ours, theirs in zip(('dq', 'dk'), got, want)),
              *(close(f'{name} {what}', ours[~single], theirs[~single], 1e-2, 0.1 * want[2][~single].norm().item())
                for what, ours, theirs in zip(('dq', 'dk'), got, want)),
              close(f'{name} dv', got[2], want[2], 5e-3)]
    print('ok' if all(e == e for e in errors) else 'NaN', name, 'l2=' + ' '.join(f'{e:.1e}' for e in errors), flush=True)


# Heads of queries and of keys, their size, keys seen before and behind a query: causal, a window, both, all.
FORMS = [(4, 2, 128, ALL, 0), (2, 2, 64, ALL, 0), (4, 1, 64, 20, 0), (8, 2, 128, ALL, ALL), (2, 2, 64, 9, 9), (2, 1, 128, 33, 33),
         (3, 1, 256, ALL, ALL), (2, 1, 256, ALL, 0), (2, 2, 256, 17, 17), (3, 3, 64, 64, 64)]


def mixed(longest, count):
    """Falling lengths up to `longest`, as in a chunk."""
    return sorted([longest] + [random.randint(1, longest) for _ in range(count - 1)], reverse=True)


def checks(small):
    combinations = [(0.1, False), (0.0, False), (0.1, True), (0.0, True)]
    lists = ([[3, 1], [16, 9, 1], [32, 17, 5, 2], [70, 3, 2, 1, 1], [131, 60, 2]] if small else
             [[1] * 37, mixed(8, 60), mixed(16, 40), [17] * 9, mixed(32, 50), [32] * 40, mixed(48, 30), [64] * 9, mixed(64, 20),
              mixed(100, 30), [128] * 6, mixed(128, 20), [127, 0, 65, 0, 1], [129] * 3, mixed(200, 12), mixed(256, 40), [512, 300, 7],
              [700, 65]])
    for size, heads in ((64, 2), (32, 3)) if small else ((64, 12), (32, 12), (64, 5)):
        for i, lengths in enumerate(lists):
            for probability, with_bias in [combinations[(i + size // 32) % 4]] if small else combinations[:3] if heads == 12 else combinations[2:]:
                check(lengths, heads, size, probability, with_bias)
    forms = FORMS[:1] + FORMS[4:] if small else FORMS
    for heads, key_heads, size, before, after in forms:
        for lengths in lists if small else lists[1::2] + [[300, 40], [33, 81, 80, 65, 0, 2]]:
            check(lengths, heads, size, key_heads=key_heads, before=before, after=after)
    longest = library.gradcache_attention_longest
    if longest(48, 0, 0) != 0 or longest(64, 0, 1) < 512 or longest(64, 1, 1) != 0:
        failures.append('attention_longest: heads of 48 are not supported, nor dropout in general forms, and heads of 64 are up to 512 tokens at least')


# ---- times -----------------------------------------------------------------------------------------------------------
def milliseconds(run, count=15):
    """Median over calls on rotating data; the device is kept busy while the calls are enqueued."""
    for i in range(3):
        run(i)
    torch.cuda.synchronize()
    torch.cuda._sleep(3_000_000)
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(count)]
    for i, (begin, end) in enumerate(events):
        begin.record()
        run(i)
        end.record()
    torch.cuda.synchronize()
    return statistics.median(begin.elapsed_time(end) for begin, end in events)


def natural(median, most, tokens, share=None):
    """Lengths of one chunk of `tokens`: of texts as they come, or cut at `share` out of 8,192 sorted ones."""
    draw = lambda: max(3, min(most, round(random.lognormvariate(math.log(median), 0.7))))
    pool = sorted((draw() for _ in range(8192)), reverse=True) if share is not None else None
    start = int(share * len(pool)) if pool else 0
    lengths = []
    while sum(lengths) < tokens - most:
        lengths.append(pool[start + len(lengths)] if pool and start + len(lengths) < len(pool) else draw() if pool is None else pool[-1])
    return sorted(lengths, reverse=True)


def expected(packed, backward):
    """Milliseconds: of the bytes at the card's bandwidth, and of that or the work, whichever takes longer. Forward, a tile of
    16 x 16 scores takes some 215 instructions of a warp and 16 rows some 700 more; backward, a tile some 108 turns of a
    multiprocessor's shared memory, half as many again beyond 128 tokens, where scores are made twice. At 1.6 GHz."""
    rows = packed.heads * sum((n + 15) // 16 for n in packed.lengths)
    tiles = packed.heads * sum(((n + 15) // 16) ** 2 * (1.7 if backward and n > 128 else 1) for n in packed.lengths)
    share = 1.0 if packed.size == 64 else 0.7
    work = (tiles * 0.51 + rows * 1.0 if backward else tiles * 0.25 + rows * 0.8) * share * 1e-6
    floor = packed.tokens * (packed.width + packed.key_width) * 4 * (2 if backward else 1) / BANDWIDTH * 1e3
    return floor, max(floor, work)


def time(name, lengths, heads, size, probability=0.0, **form):
    packed = Packed(lengths, heads, size, **form)
    data = [(packed.random_qkv(), packed.random(packed.width)) for _ in range(3)]
    key, bias = make_key(probability, 7), None
    dqkv, out = torch.empty_like(data[0][0]), torch.empty_like(data[0][1])
    normalizer = torch.empty(heads, packed.tokens, device=DEVICE)
    saved = [packed.forward(qkv, bias, key) for qkv, _ in data]
    shape, in_rows = packed.shape(), [HeadRows.of(*packed.rows(qkv)) for qkv, _ in data]
    ours = [milliseconds(lambda i: call('attention_forward', shape, in_rows[i % 3], bias, packed.scale, key, out, packed.width, normalizer)),
            milliseconds(lambda i: call('attention_backward', shape, data[i % 3][1], in_rows[i % 3], saved[i % 3][0], packed.width,
                                        saved[i % 3][1], bias, packed.scale, key, dqkv, dqkv.size(1)))]
    views = [packed.split(qkv) for qkv, _ in data]
    causal = packed.after == 0
    sequences = (packed.offsets, packed.offsets, packed.longest, packed.longest, probability, causal)
    seen = {'window_size_left': packed.before if packed.before < ALL else None, 'window_size_right': packed.after if packed.after < ALL else None}
    flash = [torch.ops.aten._flash_attention_forward(*v, *sequences, False, **seen) for v in views]
    theirs = [milliseconds(lambda i: torch.ops.aten._flash_attention_forward(*views[i % 3], *sequences, False, **seen)),
              milliseconds(lambda i: torch.cat(torch.ops.aten._flash_attention_backward(
                  data[i % 3][1].view(-1, heads, size), *views[i % 3], flash[i % 3][0], flash[i % 3][1], *sequences, flash[i % 3][2],
                  flash[i % 3][3], **seen), 1))]
    for backward in (0, 1):
        floor, estimate = expected(packed, backward)
        size_bytes = packed.tokens * (packed.width + packed.key_width) * 4 * (2 if backward else 1)
        print(f'{name:22s} {packed.form()} p={probability:<4g}{"bwd" if backward else "fwd"} | {ours[backward]:7.4f} | '
              f'{size_bytes / 1e6:6.1f} | {size_bytes / ours[backward] / 1e9:5.2f} | {floor:6.4f} | {estimate:6.4f} | '
              f'{theirs[backward]:7.4f} | {theirs[backward] / ours[backward]:5.2f}', flush=True)


# The forms of Qwen3, Llama and Qwen2, ModernBERT's in layers with a window and without, and EmbeddingGemma's.
MODELS = [(16, 8, 128, ALL, 0), (32, 8, 128, ALL, 0), (14, 2, 64, ALL, 0), (12, 12, 64, 64, 64), (12, 12, 64, ALL, ALL), (3, 1, 256, ALL, ALL)]


def times():
    source = torch.empty(1 << 28, device=DEVICE, dtype=torch.uint8)
    target = torch.empty_like(source)
    copy = milliseconds(lambda i: target.copy_(source))
    print(f'{torch.cuda.get_device_name()}, torch {torch.__version__}; copy {2 * source.numel() / copy / 1e9:.2f} TB/s')
    print('lengths, heads, dropout | ms | MB | TB/s | floor ms | expected ms | flash ms | flash / ours')
    tokens = 32768
    for size in (64, 32):
        for length in (16, 32, 64, 128, 256, 512):
            for probability in (0.1, 0.0) if size == 64 and length in (32, 128) else (0.1,):
                time(f'all {length}', [length] * (tokens // length), 12, size, probability)
        for name, lengths in (('queries, sorted', natural(10, 32, tokens, 0.2)), ('passages, longest', natural(70, 256, tokens, 0.0)),
                              ('passages, sorted', natural(70, 256, tokens, 0.4)), ('passages, as they come', natural(70, 256, tokens)),
                              ('queries, as they come', natural(10, 32, tokens))):
            time(name, lengths, 12, size, 0.1)


    for heads, key_heads, size, before, after in MODELS:
        for length, texts in ((11, 3000), (32, 1000), (76, 430), (96, 341), (128, 256), (256, 128), (512, 64), (1024, 32), (4096, 8)):
            time(f'{texts} of {length}', [length] * texts, heads, size, key_heads=key_heads, before=before, after=after)


random.seed(20)
torch.manual_seed(20)
checks(arguments.small)
if failures:
    print('\n'.join(failures))
    sys.exit(f'{len(failures)} checks failed')
print('all checks passed')
if not arguments.small:
    times()
