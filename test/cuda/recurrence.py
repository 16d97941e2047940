"""Checks and times the CUDA recurrence of SRU and QRNN.

    python3 test/cuda/recurrence.py [--small] [--library build-cuda/libgradcache_cuda.so] [--published FOLDER]

Forward and backward against a float64 loop on fresh random data: every combination of options, widths that fill no warp,
sequences from empty to long, the same bits from a second run. Then the times of both passes next to a copy of as many
bytes; and, where the folder of the published package is named (`pip download sru`, unpacked), next to its kernels on the
same values. --small checks tiny shapes only, for compute-sanitizer."""

import ctypes
import itertools
import math
import os
import sys
import tempfile

from kernels import DEVICE, Key, arguments, call, factor_at, library, make_key, measure  # first: it decides how torch allocates
import torch

BF16, F32 = torch.bfloat16, torch.float32
DIRECTIONS = {'forward': 0, 'reverse': 1, 'both': 2}


class Recurrence(ctypes.Structure):
    _fields_ = [('type', ctypes.c_int), ('offsets', ctypes.c_void_p), ('sequences', ctypes.c_int32), ('tokens', ctypes.c_int64),
                ('width', ctypes.c_int64), ('projections', ctypes.c_int32), ('direction', ctypes.c_int32),
                ('tanh_candidate', ctypes.c_int32), ('mask_per_token', ctypes.c_int32), ('skip_scale', ctypes.c_float), ('mask', Key),
                ('u', ctypes.c_void_p), ('skip', ctypes.c_void_p), ('cell_weights', ctypes.c_void_p), ('bias', ctypes.c_void_p),
                ('state', ctypes.c_void_p), ('stream', ctypes.c_void_p)]


P, R = ctypes.c_void_p, ctypes.POINTER(Recurrence)
library.gradcache_recurrence_forward.argtypes = [R, P, P, P]
library.gradcache_recurrence_backward.argtypes = [R, P, P, P, P, P, P, P, P, P]
library.gradcache_recurrence_backward_scratch.argtypes = [R]
library.gradcache_recurrence_backward_scratch.restype = ctypes.c_size_t


class Case:
    """Random inputs of one call, and the two calls on them."""

    def __init__(self, lengths, own, type, projections=3, direction='forward', skip=False, scale=1.0, weights=True, bias=True, state=True,
                 tanh=False, probability=0.0, per_token=False, seed=1, dlast=True):
        self.lengths, self.own, self.type, self.projections, self.direction = lengths, own, type, projections, direction
        self.scale, self.tanh, self.per_token = scale, tanh, per_token
        self.width, self.gates = own * (2 if direction == 'both' else 1), min(projections - 1, 2)
        self.tokens, self.sequences = sum(lengths), len(lengths)
        self.offsets = torch.tensor([0, *lengths]).cumsum(0).to(DEVICE, torch.int32)
        self.key = make_key(probability, seed, site=3)
        normal = lambda *shape, type=type: torch.randn(*shape, device=DEVICE).to(type)
        given = lambda wanted, *shape, **options: normal(*shape, **options) if wanted else None
        self.u = normal(self.tokens, projections * self.width)
        self.skip = given(skip, self.tokens, self.width)
        # As SRU's begin: larger ones let some gradients grow from token to token, and rounding with them.
        self.weights = (torch.rand(self.gates, self.width, device=DEVICE) * 2 - 1).to(type) if weights else None
        self.bias = given(bias, self.gates, self.width)
        self.state, self.dlast = (given(wanted, self.sequences, self.width, type=F32) for wanted in (state, dlast))
        self.dh = normal(self.tokens, self.width)
        self.before = [torch.randn(self.gates, self.width, device=DEVICE) for _ in range(2)]
        self.name = (f'{str(type)[6:]} {len(lengths)} sequences to {max(lengths)} own={own} k={projections} {direction} skip={int(skip)} '
                     f'scale={scale} weights={int(weights)} bias={int(bias)} state={int(state)} tanh={int(tanh)} p={probability} '
                     f'per_token={int(per_token)}')

    def shape(self):
        pointer = lambda tensor: None if tensor is None else tensor.data_ptr()
        return Recurrence(0 if self.type is F32 else 1, self.offsets.data_ptr(), self.sequences, self.tokens, self.width, self.projections,
                          DIRECTIONS[self.direction], self.tanh, self.per_token, self.scale, self.key, pointer(self.u), pointer(self.skip),
                          pointer(self.weights), pointer(self.bias), pointer(self.state), torch.cuda.current_stream().cuda_stream)

    def poison(self, *shape, type=None):
        return torch.full(shape, math.nan, device=DEVICE, dtype=type or self.type)

    def forward(self, save=True):
        h, cells = self.poison(self.tokens, self.width), self.poison(self.tokens, self.width)
        last = self.poison(self.sequences, self.width, type=F32)
        call('recurrence_forward', self.shape(), h, cells if save else None, last)
        return h, cells, last

    def backward(self, cells):
        shape = self.shape()
        du, dskip = torch.full_like(self.u, math.nan), None if self.skip is None else torch.full_like(self.skip, math.nan)
        dstate = self.poison(self.sequences, self.width, type=F32)
        weights, bias = (b.clone() if given is not None else None for b, given in zip(self.before, (self.weights, self.bias)))
        scratch = self.poison(max(library.gradcache_recurrence_backward_scratch(shape) // 4, 1), type=F32)
        call('recurrence_backward', shape, self.dh, self.dlast, cells, du, dskip, dstate, weights, bias, scratch)
        return {'u': du, 'skip': dskip, 'state': dstate, 'weights': weights, 'bias': bias}


# ---- checks ----------------------------------------------------------------------------------------------------------
failures, worst, cases = [], {}, 0


def reference(case):
    """h, last and the gradients in float64, on the CPU: one token after the other, all columns and sequences at once."""
    leaf = lambda tensor, *shape: (torch.zeros(*shape) if tensor is None else tensor.cpu()).double().requires_grad_()
    n, own, k = case.sequences, case.own, case.projections
    u, skip = leaf(case.u), leaf(case.skip, case.tokens, case.width)
    weights, bias = leaf(case.weights, case.gates, case.width), leaf(case.bias, case.gates, case.width)
    state = leaf(case.state, n, case.width)
    longest, offsets = max(case.lengths), case.offsets.cpu().long()
    lengths = torch.tensor(case.lengths)
    ones = torch.ones(case.tokens, case.width, dtype=torch.float64)
    if case.key.threshold:
        rows = torch.arange(case.tokens) if case.per_token else torch.arange(n).repeat_interleave(lengths)
        ones = factor_at(case.key, rows.unsqueeze(1), torch.arange(case.width))
    hs, lasts = [], []
    for way in range(case.width // own):
        columns = slice(way * own, way * own + own)
        backwards = case.direction == 'reverse' or way == 1
        c, outputs, places = state[:, columns], [], []
        block = lambda number, rows: u[rows, (way * k + number) * own:(way * k + number + 1) * own]
        for step in range(longest):
            runs = lengths > step
            rows = (offsets[1:] - 1 - step if backwards else offsets[:-1] + step)[runs]
            before = c[runs]
            gate = lambda g: torch.sigmoid(block(g + 1, rows) + weights[g, columns] * before + bias[g, columns])
            z, f = block(0, rows), gate(0)
            z = z.tanh() if case.tanh else z
            now = f * before + (1 - f) * z
            c = c.index_put((runs.nonzero().flatten(),), now)
            x = case.scale * (block(3, rows) if k == 4 else skip[rows, columns])
            outputs.append(ones[rows, columns] * (now if k == 2 else gate(1) * (now - x)) + (0 if k == 2 else x))
            places.append(rows)
        hs.append(torch.cat(outputs)[torch.cat(places).argsort()])
        lasts.append(c)
    h, last = torch.cat(hs, 1), torch.cat(lasts, 1)
    (h * case.dh.cpu().double()).sum().add((last * case.dlast.cpu().double()).sum() if case.dlast is not None else 0).backward()
    gradients = {'u': u.grad, 'skip': skip.grad, 'state': state.grad, 'weights': weights.grad, 'bias': bias.grad}
    for (name, _), before in zip((('weights', 0), ('bias', 0)), case.before):
        gradients[name] = before.cpu().double() + (gradients[name] if gradients[name] is not None else 0)
    return h.detach(), last.detach(), gradients


def close(group, name, got, expected, limit):
    norm = expected.norm().item()
    error = (got.cpu().double() - expected).norm().item() / (norm if norm > 0 else 1.0)
    worst[group] = max(worst.get(group, 0.0), error if error == error else math.inf)
    if not error <= limit:
        failures.append(f'{group}: l2 {error:.2e}, at most {limit:.0e} expected ({name})')


def same(group, name, one, other):
    if not torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8)):
        failures.append(f'{group}: the bits differ ({name})')


def check(*args, **options):
    global cases
    case = Case(*args, **options)
    cases += 1
    kind = str(case.type)[6:]
    limit = 8e-3 if case.type is BF16 else 3e-6
    h, last, gradients = reference(case)
    ours = case.forward()
    close(f'forward h {kind}', case.name, ours[0], h, limit)
    close(f'forward last {kind}', case.name, ours[2], last, 3e-6)
    for index, (one, other) in enumerate(zip(case.forward(), ours)):
        same(f'forward {index} twice', case.name, one, other)
    without = case.forward(save=False)
    same('forward h without cells', case.name, without[0], ours[0])
    same('forward last without cells', case.name, without[2], ours[2])
    result = case.backward(ours[1])
    again = case.backward(ours[1])
    for name, got in result.items():
        if got is None:
            continue
        close(f'backward {name} {kind}', case.name, got, gradients[name], 1.5e-2 if case.type is BF16 else 1e-5)
        same(f'backward {name} twice', case.name, again[name], got)


def combinations():
    for projections, skip in ((2, False), (3, False), (3, True), (4, False)):
        for direction, weights, bias, state, tanh in itertools.product(DIRECTIONS, *[(False, True)] * 4):
            for probability, per_token in ((0.0, False), (0.3, False), (0.3, True)):
                scale = 1.4 if (skip or projections == 4) and tanh == bias else 1.0
                yield dict(projections=projections, skip=skip, direction=direction, weights=weights, bias=bias, state=state, tanh=tanh,
                           probability=probability, per_token=per_token, scale=scale, dlast=state)


def refused(what, change, pointer=None):
    case = Case([3, 4], 16, F32, skip=True)
    shape = case.shape()
    for name, value in change.items():
        setattr(shape, name, value)
    h = torch.empty(7, 16, device=DEVICE)
    try:
        call('recurrence_forward', shape, h if pointer is None else pointer, None, h)
        failures.append(f'refusal of {what}: none')
    except RuntimeError:
        pass


def checks():
    small = arguments.small
    every = list(combinations())
    for number, options in enumerate(every):
        if small and number % 7:
            continue
        for type in (F32, BF16):
            check([3, 1, 9], 24, type, **options)
    # Lengths around a stage and around the ring; widths around a tile, and with enough warps for two columns a lane.
    for lengths in ([1], [8, 7, 9], [33, 31, 1, 64], [70, 0, 65]) if small else (
            [1], [4] * 9, [8, 7, 9], [31, 32, 33], [63, 64, 65, 1], [0, 5, 0], [130, 2, 70, 71]):
        for own in (8, 72) if small else (8, 56, 64, 72, 136):
            for type in (F32, BF16):
                for direction in DIRECTIONS:
                    check(lengths, own, type, direction=direction, skip=True, probability=0.2)
    wide = dict(skip=True, scale=1.3, probability=0.1)
    for type in (F32, BF16):
        check([9, 8] if small else [70, 33, 64], 10008 if small else 8008, type, **wide)
        check([3] * (80 if small else 700), 136, type, **wide)
        check([2] * (90 if small else 700), 136, type, projections=2, weights=False, direction='both', tanh=True)
        if not small:
            check([512, 300], 264, type, projections=4, direction='both')
            check([1024], 512, type, skip=True)
    for what, change in (('width 12', {'width': 12}), ('both ways of 12', {'direction': 2, 'width': 24}), ('five projections', {'projections': 5}),
                         ('one projection', {'projections': 1}), ('direction 3', {'direction': 3}), ('a skip beside four', {'projections': 4}),
                         ('type 2', {'type': 2})):
        refused(what, change)
    refused('unaligned', {}, torch.empty(200, device=DEVICE)[1:])
    torch.cuda.synchronize()
    for group, error in sorted(worst.items()):
        print(f'ok {group} l2={error:.2e}' if not any(f.startswith(group) for f in failures) else f'FAILED {group} l2={error:.2e}')
    print(f'{cases} cases, {len(failures)} failures')


# ---- times -----------------------------------------------------------------------------------------------------------
def published():
    """The published package's operators, compiled from its sources: float16, which has as many bytes as bfloat16."""
    if not arguments.published:
        return None
    from torch.utils.cpp_extension import load
    folder, sources = tempfile.mkdtemp(), []
    for name in ('sru_cuda_impl.cpp', 'sru_cuda_kernel.cu'):
        with open(os.path.join(arguments.published, 'csrc', name)) as source:
            text = source.read().replace('U.type()', 'U.scalar_type()')  # what newer versions of PyTorch take
        sources.append(os.path.join(folder, name))
        with open(sources[-1], 'w') as target:
            target.write(text)
    load(name='sru_cuda', sources=sources, extra_cflags=['-O3'], is_python_module=False, build_directory=folder)
    return torch.ops.sru_cuda


def ours(batch, length, width):
    """One run of each pass, on one of some sets of buffers."""
    sets = [Case([length] * batch, width, BF16, skip=True, probability=0.2, dlast=True) for _ in range(2)]
    cells = [case.forward()[1] for case in sets]
    h, kept, last = sets[0].forward()
    du, dskip, dstate = torch.empty_like(sets[0].u), torch.empty_like(sets[0].skip), torch.empty_like(last)
    weights, bias = (b.clone() for b in sets[0].before)
    shapes = [case.shape() for case in sets]
    scratch = torch.empty(library.gradcache_recurrence_backward_scratch(shapes[0]) // 4, device=DEVICE)

    def forward(k):
        call('recurrence_forward', shapes[k], h, kept, last)

    def backward(k):
        call('recurrence_backward', shapes[k], sets[k].dh, sets[k].dlast, cells[k], du, dskip, dstate, weights, bias, scratch)

    return measure(forward, 2), measure(backward, 2)


def theirs(operators, batch, length, width):
    normal = lambda *shape: torch.randn(*shape, device=DEVICE, dtype=torch.float16)
    u, x, dh = ([normal(length, batch, size) for _ in range(2)] for size in (3 * width, width, width))
    weights, bias, state, dlast = normal(2 * width), normal(2 * width), normal(batch, width), normal(batch, width)
    mask = (torch.rand(batch, width, device=DEVICE) > 0.2).half()
    forward = lambda k: operators.sru_forward_simple(u[k], x[k], weights, bias, state, mask, None, length, batch, width)
    cells = [forward(k)[1] for k in range(2)]
    backward = lambda k: operators.sru_backward_simple(u[k], x[k], weights, bias, state, mask, None, cells[k], dh[k], dlast, length, batch,
                                                       width)
    return measure(forward, 2), measure(backward, 2)


def copied(bytes):
    """Milliseconds of a copy that reads half of the bytes and writes as many."""
    source = [torch.empty(bytes // 2, device=DEVICE, dtype=torch.uint8) for _ in range(2)]
    target = torch.empty_like(source[0])
    return measure(lambda k: target.copy_(source[k]), 2)


def filled(bytes):
    target = [torch.empty(bytes, device=DEVICE, dtype=torch.uint8) for _ in range(2)]
    return measure(lambda k: target[k].zero_(), 2)


def times():
    operators = published()
    print(f'{torch.cuda.get_device_name()}, torch {torch.__version__}, bfloat16')
    print('The published operators fill their results with zeros first; in brackets, without the time of that.')
    print('batch x length x width   pass     | MB     | ms      | TB/s | copy ms | of the copy | published ms      | published / ours')
    for batch, length, width in ((4, 1024, 3072), (32, 1024, 3072), (8, 1024, 4096)):
        elements = batch * length * width
        mine = ours(batch, length, width)
        other = theirs(operators, batch, length, width) if operators else (math.nan, math.nan)
        # u, skip in, h, cells out; u, skip, cells, dh in, du, dskip out.
        sizes = (elements * 12, elements * 20)
        floors = [copied(size) for size in sizes]
        # They fill h and cells, and du and dskip.
        fills = [filled(size) for size in (elements * 4, elements * 8)] if operators else (0, 0)
        for name, size, time, floor, known, fill in (('forward', sizes[0], mine[0], floors[0], other[0], fills[0]),
                                                     ('backward', sizes[1], mine[1], floors[1], other[1], fills[1]),
                                                     ('both', sum(sizes), sum(mine), sum(floors), sum(other), sum(fills))):
            bare = known - fill
            print(f'{batch:2d} x {length} x {width}         {name:8s} | {size / 1e6:6.1f} | {time:7.4f} | {size / time / 1e9:4.2f} | '
                  f'{floor:7.4f} | {time / floor:11.2f} | {known:7.4f} ({bare:7.4f}) | {known / time:5.2f} ({bare / time:5.2f})', flush=True)


torch.manual_seed(20)
checks()
if failures:
    print('\n'.join(failures[:40]))
    sys.exit(f'{len(failures)} checks failed')
print('all checks passed')
if not arguments.small:
    times()
