"""Checks the CUDA softmax of attention in float32, with its mask and dropout, against float64.

    python3 test/cuda/softmax.py [--small] [--library build-cuda/libgradcache_cuda.so]

Odd widths, neighbours that see the same keys, dropout or none, forward, backward, both in place, the same bits from a
second run. --small checks tiny shapes only, for compute-sanitizer."""

import ctypes

from kernels import DEVICE, Key, arguments, call, factor_at, library, make_key  # first: it decides how torch allocates
import torch

P, I, L = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64


class Pairs(ctypes.Structure):
    _fields_ = [('rows', L), ('width', L), ('seen', P), ('rowsOfSeen', L), ('numbers', P), ('stream', P)]


library.gradcache_softmax_forward.argtypes = [ctypes.POINTER(Pairs), P, Key, P]
library.gradcache_softmax_backward.argtypes = [ctypes.POINTER(Pairs), P, P, Key, P, P]
failures = []


def close(name, got, expected, limit=2e-6):
    error = (got.double() - expected).norm().item() / max(expected.norm().item(), 1e-30)
    print(f'{"ok" if error <= limit else "FAILED"} {name} l2={error:.1e}')
    if not error <= limit:
        failures.append(name)


def check(sequences, rows_each, width, masked, probability):
    where = f'{sequences}x{rows_each}x{width}{" masked" if masked else ""} p={probability}'
    rows, key = sequences * rows_each, make_key(probability, seed=width)
    scores, dp = (torch.randn(rows, width, device=DEVICE) * size for size in (4, 1))
    numbers = torch.randint(1 << 40, (rows,), device=DEVICE)
    seen = None
    if masked:
        lengths = torch.randint(1, width + 1, (sequences, 1), device=DEVICE)
        seen = torch.arange(width, device=DEVICE) < lengths
    pairs = Pairs(rows, width, seen.data_ptr() if masked else None, rows_each, numbers.data_ptr() if probability else None,
                  torch.cuda.current_stream().cuda_stream)
    wide = scores.double().requires_grad_()
    hidden = wide if seen is None else wide.masked_fill(~seen.repeat_interleave(rows_each, 0), -torch.inf)
    factor = factor_at(key, numbers.unsqueeze(1), torch.arange(width, device=DEVICE)) if probability else 1.0
    expected = hidden.softmax(1) * factor
    expected.backward(dp.double())

    p = torch.full_like(scores, torch.nan)
    call('softmax_forward', pairs, scores, key, p)
    close(f'forward {where}', p, expected.detach())
    again, dscores = torch.full_like(scores, torch.nan), torch.full_like(scores, torch.nan)
    call('softmax_backward', pairs, scores, dp, key, again, dscores)
    close(f'backward {where}', dscores, wide.grad)
    over, into = scores.clone(), dp.clone()
    call('softmax_backward', pairs, over, into, key, over, into)
    if not (torch.equal(again, p) and torch.equal(over, p) and torch.equal(into, dscores)):
        failures.append(f'{where}: the bits differ')
    call('softmax_forward', pairs, scores, key, scores)
    if not torch.equal(scores, p):
        failures.append(f'{where}: the bits differ in place')


widths = [1, 2, 33, 64, 129, 1024] if arguments.small else [1, 2, 31, 33, 64, 65, 127, 129, 255, 256, 257, 300, 511, 513, 777, 1023, 1024]
for width in widths:
    for masked in (False, True):
        for probability in (0.0, 0.1):
            check(3, 5 if arguments.small else 12 * width, width, masked, probability)
for name, pairs in (('width 1025', Pairs(1, 1025, None, 1, None, None)), ('width 0', Pairs(1, 0, None, 1, None, None)),
                    ('no rows of a mask', Pairs(1, 8, torch.ones(8, device=DEVICE).data_ptr(), 0, None, None))):
    try:
        call('softmax_forward', pairs, torch.zeros(2000, device=DEVICE), Key(0, 0, 0, 1.0), torch.zeros(2000, device=DEVICE))
        failures.append(f'refusal of {name}: none')
    except RuntimeError:
        pass
print(f'{len(failures)} failures', *failures, sep='\n')
raise SystemExit(len(failures) > 0)
