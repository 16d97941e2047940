"""Times of the CUDA kernels that work on rows, at the shapes that encoders have, beside what their bytes take.

    python3 test/cuda/row_times.py [--library build-cuda/libgradcache_cuda.so]"""

import math

from kernels import DEVICE, call, make_key, measure  # first: it decides how torch allocates
from row_functions import (BF16, EPSILON, F32, KINDS, POOLINGS, Sandwich, SandwichBackward, normal, offsets_of, rows, scratch)
import torch

CEILING = 4.17e12  # bytes a second, read and written, that a copy reaches on an H200


def report(name, bytes, milliseconds):
    floor = bytes / CEILING * 1e3
    print(f'{name:52s} {bytes / 1e6:7.1f} MB  floor {floor:.4f}  measured {milliseconds:.4f} ms  {bytes / milliseconds / 1e9:5.2f} TB/s  '
          f'{milliseconds / floor:.2f}x')


def natural_lengths(tokens):
    """Lengths of sequences as natural_places has them, which add up to `tokens`."""
    places = natural_places(tokens, torch.Generator().manual_seed(1))
    starts = (places == 0).nonzero().flatten().tolist()
    return [end - begin for begin, end in zip(starts, [*starts[1:], tokens])]


def natural_places(tokens, generator):
    """Places of tokens in sequences of lognormal lengths, median 70, at most 256."""
    places = []
    while len(places) < tokens:
        places += range(min(256, max(2, int(math.exp(math.log(70) + 0.7 * torch.randn((), generator=generator).item())))))
    return torch.tensor(places[:tokens], device=DEVICE)


def time_model(name, tokens, width, intermediate):
    sets, key = 3, make_key(0.1, 3)
    shape, wide = rows(BF16, tokens, width), rows(BF16, tokens, intermediate)
    matrices = lambda columns: [normal(tokens, columns, type=BF16) for _ in range(sets)]
    a, b, c, d, e = (matrices(width) for _ in range(5))
    mean, rstd = normal(tokens), normal(tokens).abs()
    bias, scale, shift = (normal(width, type=BF16) for _ in range(3))
    gradient = torch.zeros(3, width, device=DEVICE)
    g = gradient.unbind(0)
    one, label = tokens * width * 2, f'{name} T={tokens}'
    workspace = scratch('norm_backward', shape)
    forward = lambda save: lambda k: call('norm_forward', shape, a[k], bias, b[k], scale, shift, 0, 0.0, EPSILON, key, c[k], width,
                                          *((d[k], mean, rstd) if save else (None, None, None)))
    report(f'{label} norm forward, saving', 4 * one, measure(forward(True), sets))
    report(f'{label} norm forward', 3 * one, measure(forward(False), sets))
    report(f'{label} norm backward: dsum, dx, y', 5 * one, measure(
        lambda k: call('norm_backward', shape, a[k], None, width, b[k], mean, rstd, scale, shift, 0, 0.0, key, c[k], width, d[k], width, e[k], *g,
                       workspace), sets))
    report(f'{label} norm backward: dsum, dx', 4 * one, measure(
        lambda k: call('norm_backward', shape, a[k], None, width, b[k], mean, rstd, scale, shift, 0, 0.0, key, c[k], width, d[k], width, None, *g,
                       workspace), sets))
    # As pre-norm layers of today's models have it: norms by the root of the mean square, nothing drops out.
    nothing = make_key(0.0, 3)
    report(f'{label} root norm backward, no dropout: dsum, y', 5 * one, measure(
        lambda k: call('norm_backward', shape, a[k], d[k], width, b[k], None, rstd, scale, None, 1, 0.0, nothing, c[k], width, None, width, e[k],
                       g[0], None, None, workspace), sets))
    report(f'{label} sandwich of norms, no dropout, saving', 4 * one, measure(
        lambda k: call('sandwich_norm_forward', shape,
                       Sandwich(a[k].data_ptr(), None, b[k].data_ptr(), scale.data_ptr(), None, shift.data_ptr(), None, 1, 1.0, EPSILON),
                       nothing, c[k], width, d[k], None, rstd, None, None, rstd), sets))
    report(f'{label} sandwich of norms backward, no dropout: dsum, dx, y', 7 * one, measure(
        lambda k: call('sandwich_norm_backward', shape,
                       SandwichBackward(a[k].data_ptr(), b[k].data_ptr(), width, c[k].data_ptr(), None, rstd.data_ptr(), scale.data_ptr(),
                                        d[k].data_ptr(), None, rstd.data_ptr(), shift.data_ptr(), 1, 1.0),
                       e[k], a[(k + 1) % sets], width, b[(k + 1) % sets], g[0], g[1], workspace), sets))

    generator = torch.Generator().manual_seed(1)
    place = torch.arange(tokens, device=DEVICE)
    words, positions = normal(30522, width, type=BF16), normal(512, width, type=BF16)
    # Words about as frequent as in text (Zipf), with the two tokens that frame every sequence.
    ids = (30522 ** torch.rand(tokens, generator=generator, dtype=torch.float64)).long().clamp_(0, 30521).to(DEVICE)
    for s, places in (('S=32', place % 32), ('S=128', place % 128), ('natural', natural_places(tokens, generator))):
        ids[places == 0] = 101
        table_bytes = (ids.unique().numel() + places.unique().numel()) * width * 2
        report(f'{label} embedding forward, saving, {s}', 2 * one + table_bytes, measure(
            lambda k: call('embedding_forward', shape, words, ids, positions, places, bias, scale, shift, EPSILON, key, c[k], d[k], mean, rstd), sets))
        for what, indices, count in (('words', ids, 30522), ('places', places, 512)):
            sorted, order = torch.sort(indices, stable=True)
            table, partial = torch.zeros(count, width, device=DEVICE), scratch('add_rows', shape)
            report(f'{label} add rows, {what}, {s}', one + indices.unique().numel() * width * 8, measure(
                lambda k: call('add_rows', shape, a[k], sorted, order, table, partial), sets))
    report(f'{label} embedding backward', 3 * one, measure(
        lambda k: call('embedding_backward', shape, a[k], b[k], mean, rstd, scale, shift, key, c[k], *g, workspace), sets))
    for s, lengths in (('S=16', [16] * (tokens // 16)), ('S=128', [128] * (tokens // 128)), ('S=512', [512] * (tokens // 512)),
                       ('natural', natural_lengths(tokens))):
        n, offsets = len(lengths), offsets_of(lengths)
        y, dy, norms, argmax = normal(n, width), normal(n, width), normal(n).abs(), torch.zeros(n, width, device=DEVICE, dtype=torch.int32)
        for kind in ('mean', 'max', 'cls'):
            read, maxima = (n * width * 2 if kind == 'cls' else one), argmax if kind == 'max' else None
            row = n * width * (8 if kind == 'max' else 4)
            report(f'{label} pool forward, {kind}, {s}', read + row, measure(
                lambda k: call('pool_forward', shape, offsets, n, POOLINGS[kind], a[k], y, norms, maxima), sets))
            report(f'{label} pool backward, {kind}, {s}', one + row + n * width * 4, measure(
                lambda k: call('pool_backward', shape, offsets, n, POOLINGS[kind], dy, y, norms, maxima, c[k]), sets))
    del a, b, c, d, e

    for columns in (16, 128):
        numbers, x = torch.arange(tokens * 12, device=DEVICE), normal(tokens * 12, columns)
        many = rows(F32, tokens * 12, columns)
        report(f'{label} dropout of 12 heads, S={columns}, float32', tokens * 12 * (columns * 8 + 8), measure(
            lambda k: call('dropout', many, x, numbers, key, x), sets))

    for columns in (width, 3 * width, intermediate):
        x, into = matrices(columns), torch.zeros(columns, device=DEVICE)
        columns_shape = rows(BF16, tokens, columns)
        partial = scratch('column_sum', columns_shape)
        report(f'{label} column sum of {columns}', tokens * columns * 2, measure(lambda k: call('column_sum', columns_shape, x[k], into, partial), sets))
    x, y, dx, out = (matrices(intermediate) for _ in range(4))
    bias, into, partial = normal(intermediate, type=BF16), torch.zeros(intermediate, device=DEVICE), scratch('activation_backward', wide)
    for kind in ('gelu', 'gelu_tanh'):
        report(f'{label} {kind} forward', 2 * tokens * intermediate * 2, measure(
            lambda k: call('activation_forward', wide, KINDS[kind], x[k], bias, y[k]), sets))
        report(f'{label} {kind} backward: dx, y', 4 * tokens * intermediate * 2, measure(
            lambda k: call('activation_backward', wide, KINDS[kind], y[k], x[k], bias, dx[k], out[k], into, partial), sets))


def time_all():
    print(torch.cuda.get_device_name(), f'floors at {CEILING / 1e12:.2f} TB/s')
    source = [normal(1 << 27) for _ in range(2)]
    target = torch.empty_like(source[0])
    report('copy', 2 * source[0].numel() * 4, measure(lambda k: target.copy_(source[k]), 2))
    del source, target
    time_model('BERT-base', 32768, 768, 3072)
    time_model('MiniLM', 32768, 384, 1536)
    time_model('BERT-base', 65536, 768, 3072)


if __name__ == '__main__':
    with torch.no_grad():
        time_all()
