"""Checks and times the CUDA kernels that work on rows: norms, embeddings, activations, column sums, rows of tables, pooling.

    python3 test/cuda/rows.py [--small] [--library build-cuda/libgradcache_cuda.so]

Every function against a float64 reference on fresh random data: odd sizes, both types, dropout or none, gradients that
accumulate, the same bits from a second run. Then the time of each at the shapes that encoders have. --small checks tiny
shapes only, for compute-sanitizer."""

import ctypes
import math
import os
import sys
import threading

from kernels import DEVICE, Key, arguments, call, factor_at, library, make_key  # first: it decides how torch allocates
import torch
import torch.nn.functional as F

BF16, F32 = torch.bfloat16, torch.float32
TYPE = {F32: 0, BF16: 1}
KINDS = {'gelu': 0, 'gelu_tanh': 1, 'relu': 2, 'silu': 3}
POOLINGS = {'mean': 0, 'cls': 1, 'max': 2, 'last': 3}
EPSILON = 1e-12


class Rows(ctypes.Structure):
    _fields_ = [('type', ctypes.c_int), ('tokens', ctypes.c_int64), ('width', ctypes.c_int64), ('stream', ctypes.c_void_p)]


class Heads(ctypes.Structure):
    _fields_ = [('type', ctypes.c_int), ('tokens', ctypes.c_int64), ('queries', ctypes.c_int32), ('keys', ctypes.c_int32),
                ('size', ctypes.c_int32), ('cosines', ctypes.c_void_p), ('sines', ctypes.c_void_p), ('positions', ctypes.c_void_p),
                ('queryScale', ctypes.c_void_p), ('keyScale', ctypes.c_void_p), ('epsilon', ctypes.c_float), ('offset', ctypes.c_float),
                ('stream', ctypes.c_void_p)]


class SandwichBackward(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_void_p) for name in ('dy', 'beside', 'sum', 'mean', 'rstd', 'scale', 'innerSum', 'innerMean',
                                                       'innerRstd', 'innerScale')),
                ('rootSquare', ctypes.c_int), ('offset', ctypes.c_float)]


class Sandwich(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_void_p) for name in ('x', 'bias', 'residual', 'innerScale', 'innerShift', 'scale', 'shift')),
                ('rootSquare', ctypes.c_int), ('offset', ctypes.c_float), ('epsilon', ctypes.c_float)]


# ---- the library ------------------------------------------------------------------------------------------------------
P, R, I, L, FLOAT = ctypes.c_void_p, ctypes.POINTER(Rows), ctypes.c_int, ctypes.c_int64, ctypes.c_float
SIGNATURES = {
    'dropout': [R, P, P, Key, P],
    'norm_forward': [R, P, P, P, P, P, I, FLOAT, FLOAT, Key, P, L, P, P, P],
    'sandwich_norm_forward': [R, ctypes.POINTER(Sandwich), Key, P, L, P, P, P, P, P, P],
    'sandwich_norm_backward': [R, ctypes.POINTER(SandwichBackward), P, P, P, P, P, P],
    'norm_backward': [R, P, P, P, P, P, P, P, I, FLOAT, Key, P, P, P, P, P, P, P],
    'embedding_forward': [R, P, P, P, P, P, P, P, FLOAT, Key, P, P, P, P],
    'embedding_backward': [R, P, P, P, P, P, P, Key, P, P, P, P, P],
    'add_rows': [R, P, P, P, P, P],
    'activation_forward': [R, I, P, P, P],
    'activation_backward': [R, I, P, P, P, P, P, P, P],
    'column_sum': [R, P, P, P],
    'gate_forward': [R, I, I, P, P, P, L],
    'gate_backward': [R, I, I, P, P, P, P, L, P, P, P],
    'heads_forward': [ctypes.POINTER(Heads), P, P],
    'heads_backward': [ctypes.POINTER(Heads), P, P, P, P, P],
    'pool_forward': [R, P, I, I, P, P, P, P],
    'pool_backward': [R, P, I, I, P, P, P, P, P],
}
for name, types in SIGNATURES.items():
    function = getattr(library, f'gradcache_{name}')
    function.argtypes, function.restype = types, I
for name in ('norm_backward', 'add_rows', 'activation_backward', 'gate_backward', 'heads_backward', 'column_sum'):
    function = getattr(library, f'gradcache_{name}_scratch')
    function.argtypes, function.restype = [ctypes.POINTER(Heads) if name == 'heads_backward' else R], ctypes.c_size_t


def rows(type, tokens, width):
    return Rows(TYPE[type], tokens, width, torch.cuda.current_stream().cuda_stream)


def scratch(name, shape):
    size = getattr(library, f'gradcache_{name}_scratch')(shape)
    return torch.full((max(size // 4, 1),), math.nan, device=DEVICE)  # poisoned: it needs no initialisation


def factor(key, tokens, width):
    """float64 [tokens, width]: 0 or the key's scale."""
    return factors(key, torch.arange(tokens, device=DEVICE), width)


def factors(key, numbers, width):
    return factor_at(key, numbers.unsqueeze(1), torch.arange(width, device=DEVICE))


# ---- checks ---------------------------------------------------------------------------------------------------------------
failures = []
worst = {}


def close(name, got, expected, limit):
    norm = expected.double().norm().item()
    error = (got.double() - expected.double()).norm().item() / (norm if norm > 0 else 1.0)
    group = name.split(' ')[0] + ' ' + name.split(' ')[1]
    worst[group] = max(worst.get(group, 0.0), error if error == error else math.inf)
    if not error <= limit:
        failures.append(f'{name}: l2 {error:.2e}, at most {limit:.0e} expected')


def same(name, one, other):
    if not torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8)):
        failures.append(f'{name}: the bits differ')


def rounding(type):
    return 2.5e-3 if type is BF16 else 2e-6


GRADIENT = 5e-6  # of float32 sums over tokens, against float64


def normal(*shape, type=F32, std=1.0, mean=0.0):
    return (torch.randn(*shape, device=DEVICE) * std + mean).to(type)


def poison(*shape, type=F32):
    return torch.full(shape, math.nan, device=DEVICE, dtype=type)


def roomy(tokens, width, room, type):
    """Poisoned rows with so many columns behind each, which a kernel must leave as they are."""
    return poison(tokens, width + room, type=type).narrow(1, 0, width)


def check_room(name, rows, room):
    if room and not rows.as_strided((rows.size(0), room), rows.stride(), rows.size(1)).isnan().all():
        failures.append(f'{name}: wrote behind its rows')


def normalize(sum, scale, shift):
    return F.layer_norm(sum, (sum.size(1),), scale.double(), shift.double(), EPSILON)


def check_norm(tokens, width, type, probability, with_bias=True, with_residual=True, root=False, offset=0.0, with_beside=False, room=0):
    """With `root` the norm by the root of the mean square, which has no shift here and no mean."""
    where = f'{tokens}x{width} {str(type)[6:]} p={probability}{" root" if root else ""}'
    shape, key = rows(type, tokens, width), make_key(probability, seed=tokens * 7 + width)
    x, residual = normal(tokens, width, type=type), normal(tokens, width, type=type, std=2.0, mean=0.3)
    bias, scale, shift = normal(width, type=type), normal(width, type=type, mean=1.0, std=0.2), normal(width, type=type)
    kept = factor(key, tokens, width)
    shift = None if root else shift
    beside = normal(tokens, width, type=type) if with_beside else None

    def reference_of(wide):
        if not root:
            return F.layer_norm(wide, (width,), scale.double() + offset, shift.double(), EPSILON)
        return wide * (wide.square().mean(1, keepdim=True) + EPSILON).rsqrt() * (scale.double() + offset)

    def forward(save):
        y, sum = roomy(tokens, width, room, type), poison(tokens, width, type=type)
        mean, rstd = None if root else poison(tokens), poison(tokens)
        call('norm_forward', shape, x, bias if with_bias else None, residual if with_residual else None, scale, shift, int(root), offset,
             EPSILON, key, y, y.stride(0), *((sum, mean, rstd) if save else (None, None, None)))
        check_room(f'norm_forward {where}', y, room)
        return y, sum, rstd, mean

    y, sum, rstd, mean = forward(True)
    expected = (x.double() + (bias.double() if with_bias else 0)) * kept + (residual.double() if with_residual else 0)
    close(f'norm_forward sum {where}', sum, expected, rounding(type))
    wide = sum.double().requires_grad_()
    reference = reference_of(wide)
    center = 0 if root else wide.detach().mean(1, keepdim=True)
    inverse = ((wide.detach() - center).square().mean(1, keepdim=True) + EPSILON).rsqrt()
    close(f'norm_forward y {where}', y, reference.detach(), rounding(type))
    if not root:
        close(f'norm_forward mean {where}', mean, wide.detach().mean(1), 3e-6)
    close(f'norm_forward rstd {where}', rstd, inverse.view(-1), 2e-6)
    for index, again in enumerate(forward(True)[:3]):
        same(f'norm_forward twice {index} {where}', again, (y, sum, rstd)[index])
    same(f'norm_forward without saving {where}', forward(False)[0], y)

    dy = normal(tokens, width, type=type)
    before = [normal(width) for _ in range(3)]

    def backward(with_dx=True, with_y=True, with_bias_gradient=True, shared=False):
        dsum = poison(tokens, width, type=type)
        dx = dsum if shared else poison(tokens, width, type=type) if with_dx else None
        y = poison(tokens, width, type=type) if with_y else None
        gradients = [g.clone() for g in before]
        call('norm_backward', shape, dy, beside, sum, mean, rstd, scale, shift, int(root), offset, key, dsum, dx, y, gradients[0],
             None if root else gradients[1], gradients[2] if with_bias_gradient else None, scratch('norm_backward', shape))
        return dsum, dx, y, *gradients

    result = backward()
    reference.backward(dy.double())
    if with_beside:
        wide.grad += beside.double()
    dx = wide.grad * kept
    n = (wide.detach() - center) * inverse
    close(f'norm_backward dsum {where}', result[0], wide.grad, rounding(type))
    close(f'norm_backward dx {where}', result[1], dx, rounding(type))
    same(f'norm_backward y {where}', result[2], y)
    expected = [before[0] + (dy.double() * n).sum(0), before[1] + (0 if root else dy.double().sum(0)), before[2] + dx.sum(0)]
    for name, got, reference in zip(('scale', 'shift', 'bias'), result[3:], expected):
        close(f'norm_backward {name} {where}', got, reference, GRADIENT)
    for index, again in enumerate(backward()):
        same(f'norm_backward twice {index} {where}', again, result[index])
    without = backward(with_y=False, with_bias_gradient=False, with_dx=probability > 0)
    for index in (0, 3, 4):
        same(f'norm_backward without y {index} {where}', without[index], result[index])
    same(f'norm_backward without bias {where}', without[5], before[2])
    if probability == 0:
        same(f'norm_backward dx in dsum {where}', backward(shared=True)[0], result[0])


def check_sandwich(tokens, width, type, probability, root, with_bias, room=0):
    """The bits of two norms."""
    where = f'{tokens}x{width} {str(type)[6:]} p={probability}{" root" if root else ""}'
    shape, key, offset = rows(type, tokens, width), make_key(probability, seed=tokens + width), 1.0 if root else 0.0
    x, residual = normal(tokens, width, type=type, std=3.0), normal(tokens, width, type=type, mean=0.3)
    bias = normal(width, type=type) if with_bias else None
    scales = [normal(width, type=type, mean=1.0 - offset, std=0.2) for _ in range(2)]
    shifts = [None if root else normal(width, type=type) for _ in range(2)]

    def statistics():
        return [None if root else poison(tokens), poison(tokens)]

    def norm(x, bias, residual, index, key):
        y, sum, both = poison(tokens, width, type=type), poison(tokens, width, type=type), statistics()
        call('norm_forward', shape, x, bias, residual, scales[index], shifts[index], int(root), offset, EPSILON, key, y, width, sum, *both)
        return y, sum, *both

    def sandwich(save):
        y, sum, inner = roomy(tokens, width, room, type), poison(tokens, width, type=type), poison(tokens, width, type=type)
        both = [statistics(), statistics()]
        pointers = [v.data_ptr() if v is not None else None for v in (x, bias, residual, scales[0], shifts[0], scales[1], shifts[1])]
        kept = (sum, *both[0], inner, *both[1]) if save else (sum,) + (None,) * 5
        call('sandwich_norm_forward', shape, Sandwich(*pointers, int(root), offset, EPSILON), key, y, y.stride(0), *kept)
        check_room(f'sandwich_norm {where}', y, room)
        return y, sum, *both[0], inner, *both[1]

    one = norm(x, bias, None, 0, make_key(0.0, seed=0))
    two = norm(one[0], None, residual, 1, key)
    for index, (got, expected) in enumerate(zip(sandwich(True), (*two, *one[1:]))):
        if expected is not None:
            same(f'sandwich_norm {index} {where}', got, expected)
    for index, got in enumerate(sandwich(False)[:2]):
        same(f'sandwich_norm {index} without saving {where}', got, two[index])
    if root and probability == 0:
        check_sandwich_backward(where, shape, two, one, scales, offset, type)


def check_sandwich_backward(where, shape, outer, inner, scales, offset, type):
    """The bits of two backward passes; `outer` and `inner` are what norms gave: y, sum, mean, rstd."""
    tokens, width = shape.tokens, shape.width
    dy, beside, before = normal(tokens, width, type=type), normal(tokens, width, type=type), normal(2, width)
    expected, none = before.clone(), make_key(0.0, seed=0)

    def backward(dy, beside, norm, index, y):
        dsum = poison(tokens, width, type=type)
        call('norm_backward', shape, dy, beside, norm[1], None, norm[3], scales[index], None, 1, offset, none, dsum, None, y,
             expected[index], None, None, scratch('norm_backward', shape))
        return dsum

    again = poison(tokens, width, type=type)
    dsum = backward(dy, beside, outer, 1, again)
    dx = backward(dsum, None, inner, 0, None)
    got, gradients = [poison(tokens, width, type=type) for _ in range(3)], before.clone()
    pointers = [v.data_ptr() if v is not None else None for v in (
        dy, beside, outer[1], None, outer[3], scales[1], inner[1], None, inner[3], scales[0])]
    call('sandwich_norm_backward', shape, SandwichBackward(*pointers, 1, offset), *got, gradients[1], gradients[0],
         scratch('norm_backward', shape))
    for name, one, other in zip(('dsum', 'dx', 'y', 'scales'), (*got, gradients), (dsum, dx, again, expected)):
        same(f'sandwich_norm_backward {name} {where}', one, other)


def check_embedding(tokens, width, type, probability, with_type=True):
    where = f'{tokens}x{width} {str(type)[6:]} p={probability}'
    shape, key = rows(type, tokens, width), make_key(probability, seed=tokens * 3 + width, site=5)
    words, positions, row = normal(997, width, type=type), normal(131, width, type=type), normal(width, type=type)
    scale, shift = normal(width, type=type, mean=1.0, std=0.2), normal(width, type=type)
    ids = torch.randint(0, 997, (tokens,), device=DEVICE)
    places = torch.arange(tokens, device=DEVICE) % 131
    kept = factor(key, tokens, width)

    def forward(save):
        y, sum = poison(tokens, width, type=type), poison(tokens, width, type=type)
        mean, rstd = poison(tokens), poison(tokens)
        call('embedding_forward', shape, words, ids, positions, places, row if with_type else None, scale, shift, EPSILON, key, y,
             *((sum, mean, rstd) if save else (None, None, None)))
        return y, sum, mean, rstd

    y, sum, mean, rstd = forward(True)
    expected = words.double()[ids] + positions.double()[places] + (row.double() if with_type else 0)
    close(f'embedding_forward sum {where}', sum, expected, rounding(type))
    wide = sum.double().requires_grad_()
    reference = normalize(wide, scale, shift) * kept
    close(f'embedding_forward y {where}', y, reference.detach(), rounding(type))
    same(f'embedding_forward without saving {where}', forward(False)[0], y)
    for index, again in enumerate(forward(True)):
        same(f'embedding_forward twice {index} {where}', again, (y, sum, mean, rstd)[index])

    dy = normal(tokens, width, type=type)
    before = [normal(width) for _ in range(3)]

    def backward():
        dsum, gradients = poison(tokens, width, type=type), [g.clone() for g in before]
        call('embedding_backward', shape, dy, sum, mean, rstd, scale, shift, key, dsum, gradients[0], gradients[1],
             gradients[2] if with_type else None, scratch('norm_backward', shape))
        return dsum, *gradients

    result = backward()
    reference.backward(dy.double())
    n = (wide.detach() - wide.detach().mean(1, keepdim=True)) * (wide.detach().var(1, unbiased=False, keepdim=True) + EPSILON).rsqrt()
    dnorm = dy.double() * kept
    close(f'embedding_backward dsum {where}', result[0], wide.grad, rounding(type))
    close(f'embedding_backward scale {where}', result[1], before[0] + (dnorm * n).sum(0), GRADIENT)
    close(f'embedding_backward shift {where}', result[2], before[1] + dnorm.sum(0), GRADIENT)
    close(f'embedding_backward type {where}', result[3], before[2] + (wide.grad.sum(0) if with_type else 0), GRADIENT)
    for index, again in enumerate(backward()):
        same(f'embedding_backward twice {index} {where}', again, result[index])


def activated(z, kind):
    if kind in ('relu', 'silu'):
        return getattr(F, kind)(z)
    return F.gelu(z, approximate='tanh' if kind == 'gelu_tanh' else 'none')


def check_gate(tokens, width, type, kind, first, with_bias, room=0):
    where = f'{kind} {"first" if first else "last"} {tokens}x{width} {str(type)[6:]}'
    shape = rows(type, tokens, width)
    x, dy = normal(tokens, 2 * width, type=type, std=1.5), normal(tokens, width, type=type)
    bias = normal(2 * width, type=type, std=0.5) if with_bias else None
    y = roomy(tokens, width, room, type)
    call('gate_forward', shape, KINDS[kind], first, x, bias, y, y.stride(0))
    check_room(f'gate_forward {where}', y, room)
    z = (x.double() + (bias.double() if with_bias else 0)).requires_grad_()
    one, two = z.chunk(2, 1)
    reference = activated(one if first else two, kind) * (two if first else one)
    close(f'gate_forward {where}', y, reference.detach(), 2.5e-3 if type is BF16 else 2e-6)
    before = normal(2 * width)

    def backward(inplace):
        gradient, again = before.clone(), poison(tokens, width, type=type)
        dx = x.clone() if inplace else roomy(tokens, 2 * width, room, type)
        call('gate_backward', shape, KINDS[kind], first, dy, dx if inplace else x, bias, dx, dx.stride(0), again, gradient if with_bias else None,
             scratch('gate_backward', shape))
        check_room(f'gate_backward {where}', dx, 0 if inplace else room)
        return dx, again, gradient

    result = backward(False)
    reference.backward(dy.double())
    close(f'gate_backward dx {where}', result[0], z.grad, 2.5e-3 if type is BF16 else 3e-6)
    same(f'gate_backward y {where}', result[1], y)
    if with_bias:
        close(f'gate_backward bias {where}', result[2], before + z.grad.sum(0), GRADIENT)
    for index, again in enumerate(backward(False)):
        same(f'gate_backward twice {index} {where}', again, result[index])
    for index, again in enumerate(backward(True)):
        same(f'gate_backward in place {index} {where}', again, result[index])


def check_heads(tokens, queries, keys, size, type, norms, turned, offset=0.0):
    where = f'{queries}+{keys} heads of {size} {"normed " if norms else ""}{"turned " if turned else ""}{str(type)[6:]}'
    qkv = normal(tokens, (queries + 2 * keys) * size, type=type)
    angles = torch.rand(tokens + 3, size // 2, device=DEVICE) * 6
    cosines, sines = angles.cos(), angles.sin()
    positions = torch.randint(0, tokens + 3, (tokens,), device=DEVICE)
    scales = [normal(size, type=type, mean=1.0, std=0.3) for _ in range(2)]
    pointer = lambda tensor, there: tensor.data_ptr() if there else None
    heads = Heads(TYPE[type], tokens, queries, keys, size, pointer(cosines, turned), pointer(sines, turned), pointer(positions, turned),
                  pointer(scales[0], norms), pointer(scales[1], norms), 1e-6, offset, torch.cuda.current_stream().cuda_stream)
    x, wide = qkv.double().requires_grad_(), [scale.double().requires_grad_() for scale in scales]

    def prepared(part, scale):
        if norms:
            part = part * (part.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * (scale + offset)
        if turned:
            one, two = part.chunk(2, -1)
            c, s = cosines[positions].double()[:, None], sines[positions].double()[:, None]
            part = torch.cat([one * c - two * s, two * c + one * s], -1)
        return part

    parts = x.view(tokens, -1, size)
    expected = torch.cat([prepared(parts[:, :queries], wide[0]), prepared(parts[:, queries:queries + keys], wide[1]),
                          parts[:, queries + keys:]], 1).reshape(tokens, -1)
    out = poison(*qkv.shape, type=type)
    call('heads_forward', heads, qkv, out)
    close(f'heads_forward {where}', out, expected.detach(), 2.5e-3 if type is BF16 else 2e-6)
    if not norms:
        inplace = qkv.clone()
        call('heads_forward', heads, inplace, inplace)
        same(f'heads_forward in place {where}', inplace, out)
    d, before = normal(*qkv.shape, type=type), [normal(size) for _ in range(2)]

    def backward():
        gradient, sums = d.clone(), [each.clone() for each in before]
        call('heads_backward', heads, qkv if norms else None, gradient, *sums, scratch('heads_backward', heads))
        return gradient, *sums

    result = backward()
    expected.backward(d.double())
    close(f'heads_backward dqkv {where}', result[0], x.grad, 4e-3 if type is BF16 else 3e-6)
    if norms:
        for index in range(2):
            close(f'heads_backward scale {index} {where}', result[1 + index], before[index] + wide[index].grad, GRADIENT)
    for index, again in enumerate(backward()):
        same(f'heads_backward twice {index} {where}', again, result[index])


def check_activation(tokens, width, type, kind):
    where = f'{kind} {tokens}x{width} {str(type)[6:]}'
    shape = rows(type, tokens, width)
    x, bias, dy = normal(tokens, width, type=type, std=1.5), normal(width, type=type, std=0.5), normal(tokens, width, type=type)
    special = torch.tensor([0.0, -0.0, 1e-20, -1e-20, 9.0, -9.0, 50.0, -50.0, 1e4, -1e4], device=DEVICE).to(type)
    count = min(special.numel(), tokens * width)
    x.view(-1)[:count] = special[:count]
    y = poison(tokens, width, type=type)
    call('activation_forward', shape, KINDS[kind], x, bias, y)
    z = (x.double() + bias.double()).requires_grad_()
    reference = activated(z, kind)
    limit = 2.5e-3 if type is BF16 else 1e-6
    # The special values would drown the others in a norm.
    ordinary = (x.double().abs() < 8.5).double()
    close(f'activation_forward {where}', y.double() * ordinary, reference.detach() * ordinary, limit)
    close(f'activation_forward {where} far', y.double() * (1 - ordinary), reference.detach() * (1 - ordinary), limit)
    inplace = x.clone()
    call('activation_forward', shape, KINDS[kind], inplace, bias, inplace)
    same(f'activation_forward in place {where}', inplace, y)

    before = normal(width)

    def backward(inplace):
        gradient = before.clone()
        dx, again = (dy.clone(), x.clone()) if inplace else (poison(tokens, width, type=type), poison(tokens, width, type=type))
        call('activation_backward', shape, KINDS[kind], dx if inplace else dy, again if inplace else x, bias, dx, again, gradient,
             scratch('activation_backward', shape))
        return dx, again, gradient

    result = backward(False)
    reference.backward(dy.double())
    close(f'activation_backward dx {where}', result[0], z.grad, 2.5e-3 if type is BF16 else 2e-6)
    same(f'activation_backward y {where}', result[1], y)
    close(f'activation_backward bias {where}', result[2], before + z.grad.sum(0), GRADIENT)
    for index, again in enumerate(backward(False)):
        same(f'activation_backward twice {index} {where}', again, result[index])
    for index, again in enumerate(backward(True)):
        same(f'activation_backward in place {index} {where}', again, result[index])


def check_dropout(tokens, width, type, probability):
    key, numbers = make_key(probability, 5), torch.randint(0, 1 << 40, (tokens,), device=DEVICE)
    shape, x, y = rows(type, tokens, width), normal(tokens, width, type=type), poison(tokens, width, type=type)
    expected = (x.float() * factors(key, numbers, width).float()).to(type)
    call('dropout', shape, x, numbers, key, y)
    same(f'dropout {tokens}x{width} {str(type)[6:]}', y, expected)
    call('dropout', shape, x, numbers, key, x)
    same(f'dropout in place {tokens}x{width} {str(type)[6:]}', x, expected)


def check_column_sum(tokens, width, type):
    where = f'{tokens}x{width} {str(type)[6:]}'
    shape, x, before = rows(type, tokens, width), normal(tokens, width, type=type), normal(width)

    def run():
        gradient = before.clone()
        call('column_sum', shape, x, gradient, scratch('column_sum', shape))
        return gradient

    result = run()
    close(f'column_sum gradient {where}', result, before + x.double().sum(0), GRADIENT)
    same(f'column_sum twice {where}', run(), result)


def check_add_rows(tokens, width, type, indices, name):
    where = f'{name} {tokens}x{width} {str(type)[6:]}'
    shape, x = rows(type, tokens, width), normal(tokens, width, type=type)
    sorted, order = torch.sort(indices, stable=True)
    before = normal(int(indices.max()) + 3, width)

    def run():
        table = before.clone()
        call('add_rows', shape, x, sorted, order, table, scratch('add_rows', shape))
        return table

    result = run()
    close(f'add_rows table {where}', result, before.double().index_add_(0, indices, x.double()), 3e-6)
    untouched = torch.ones(before.size(0), dtype=torch.bool, device=DEVICE)
    untouched[indices] = False
    same(f'add_rows untouched {where}', result[untouched], before[untouched])
    same(f'add_rows twice {where}', run(), result)


def index_sets(tokens):
    place = torch.arange(tokens, device=DEVICE)
    words = torch.randint(0, 3000, (tokens,), device=DEVICE)
    words[place % 16 == 0] = 101  # the token that begins every sequence
    words[place % 16 == 15] = 102
    return {'words': words, 'places': place % 33, 'one': torch.full_like(place, 7), 'distinct': place.flip(0), 'pairs': place // 2}


def offsets_of(lengths):
    return torch.tensor([0, *lengths], device=DEVICE).cumsum(0).int()


def pooled(x, offsets, kind):
    """One row for each sequence of x, and of maxima the first tokens that they are from."""
    begin, end = offsets[:-1].long(), offsets[1:].long()
    if kind == 'cls':
        return x[begin], None
    if kind == 'last':
        return x[end - 1], None
    lengths = end - begin
    if kind == 'mean':
        sequence = torch.repeat_interleave(torch.arange(lengths.numel(), device=DEVICE), lengths)
        sums = torch.zeros(lengths.numel(), x.size(1), device=DEVICE, dtype=x.dtype).index_add(0, sequence, x)
        return sums / lengths.unsqueeze(1), None
    place = torch.arange(int(lengths.max()), device=DEVICE)
    tokens = begin.unsqueeze(1) + torch.where(place < lengths.unsqueeze(1), place, 0)
    padded = x.detach()[tokens]
    first = torch.where(padded == padded.amax(1, keepdim=True), tokens.unsqueeze(2), x.size(0)).amin(1)
    return x.gather(0, first), first


def check_pool(lengths, name, width, type, kind, normalized, size=1.0, ties=False):
    where = f'{kind}{" normalized" if normalized else ""} {name} x{width} {str(type)[6:]} size={size}'
    n, tokens, offsets = len(lengths), sum(lengths), offsets_of(lengths)
    shape, x = rows(type, tokens, width), normal(tokens, width, type=type, std=size)
    if ties:
        x = x.float().mul_(1.5).round_().to(type)
    maxima = kind == 'max'

    def forward():
        y, norms, argmax = poison(n, width), poison(n), torch.full((n, width), -7, device=DEVICE, dtype=torch.int32)
        call('pool_forward', shape, offsets, n, POOLINGS[kind], x, y, norms if normalized else None, argmax if maxima else None)
        return y, norms, argmax

    y, norms, argmax = forward()
    wide = x.double().requires_grad_()
    reference, first = pooled(wide, offsets, kind)
    if normalized:
        length = reference.norm(dim=1)
        close(f'pool_forward norms {where}', norms, length.detach(), 2e-6)
        reference = reference / length.clamp_min(1e-12).unsqueeze(1)
    close(f'pool_forward {where}', y, reference.detach(), 2e-6)
    if maxima:
        same(f'pool_forward argmax {where}', argmax.long(), first)
    for index, again in enumerate(forward()):
        same(f'pool_forward twice {index} {where}', again, (y, norms, argmax)[index])

    dy = normal(n, width)

    def backward():
        dx = poison(tokens, width, type=type)
        call('pool_backward', shape, offsets, n, POOLINGS[kind], dy, *((y, norms) if normalized else (None, None)),
             argmax if maxima else None, dx)
        return dx

    result = backward()
    reference.backward(dy.double())
    close(f'pool_backward {where}', result, wide.grad, 4e-3 if type is BF16 else 3e-6)
    same(f'pool_backward twice {where}', backward(), result)


def length_sets():
    short = torch.randint(8, 31, (61,)).tolist()
    sets = {'one': [1], 'three': [3], 'short': short[:9], 'mixed': [70, 1, 140, 64, 65, 3]}
    if not arguments.small:
        sets |= {'singles': [1] * 37, 'short': short, 'long': [512] * 9, 'longest': [1, 4000, 2, 63], 'many': [11] * 3001}
    return sets


def check_threads():
    """Eight threads make the first calls of shapes at once, each on its own stream, and all get the same bits."""
    tokens, width = 333, 1536
    dy, sum = normal(tokens, width), normal(tokens, width)
    mean, rstd, scale = normal(tokens), normal(tokens), normal(width)
    outputs = [(poison(tokens, width), torch.zeros(3, width, device=DEVICE)) for _ in range(8)]
    streams, errors = [torch.cuda.Stream() for _ in outputs], []
    torch.cuda.synchronize()

    def work(k):
        try:
            with torch.cuda.stream(streams[k]):
                shape, (dsum, gradients) = rows(F32, tokens, width), outputs[k]
                call('norm_backward', shape, dy, None, sum, mean, rstd, scale, scale, 0, 0.0, Key(0, 0, 0, 1.0), dsum, None, None, *gradients.unbind(0),
                     scratch('norm_backward', shape))
                streams[k].synchronize()
        except Exception as error:  # shown by the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    torch.cuda.synchronize()
    failures.extend(f'threads: {error}' for error in errors)
    for dsum, gradients in outputs[1:]:
        same('threads dsum', dsum, outputs[0][0])
        same('threads gradients', gradients, outputs[0][1])


def check_refusals():
    ok = torch.zeros(64, 16, device=DEVICE)
    for name, shape, pointer in (('width 12', rows(F32, 4, 12), ok), ('width 2056', rows(F32, 1, 2056), ok),
                                 ('unaligned', rows(F32, 4, 16), ok.view(-1)[1:])):
        try:
            call('norm_forward', shape, pointer, None, None, ok, ok, 0, 0.0, EPSILON, Key(0, 0, 0, 1.0), ok, shape.width, None, None, None)
            failures.append(f'refusal of {name}: none')
        except RuntimeError:
            pass
    offsets = offsets_of([4])
    for name, width, sequences, kind, pointer in (('width 12', 12, 1, 0, ok), ('width 4104', 4104, 1, 0, ok), ('no sequence', 16, 0, 0, ok),
                                                  ('more sequences than tokens', 16, 5, 0, ok), ('pooling 4', 16, 1, 4, ok),
                                                  ('unaligned', 16, 1, 0, ok.view(-1)[1:])):
        try:
            call('pool_forward', rows(F32, 4, width), offsets, sequences, kind, pointer, ok, None, None)
            failures.append(f'refusal of {name} by pool_forward: none')
        except RuntimeError:
            pass
    call('pool_forward', rows(F32, 0, 16), offsets, 0, 0, None, None, None, None)
    call('norm_forward', rows(F32, 0, 16), None, None, None, None, None, 0, 0.0, EPSILON, Key(0, 0, 0, 1.0), None, 16, None, None, None)


def check():
    small = arguments.small
    norms = [(1, 768), (37, 384), (9, 136), (5, 1024), (3, 1536), (6, 2048)] if small else [
        (1, 768), (37, 768), (1000, 768), (6001, 768), (4099, 384), (257, 136), (513, 1024), (100, 8), (301, 1536), (77, 2048),
        (65, 1280), (130, 256), (33, 264), (501, 520), (2, 1032), (19, 1800)]
    for tokens, width in norms:
        for type in (BF16, F32):
            for probability in (0.0, 0.1):
                check_norm(tokens, width, type, probability)
                check_embedding(tokens, width, type, probability)
    check_norm(37, 384, BF16, 0.1, with_bias=False)
    check_norm(37, 384, F32, 0.1, with_residual=False)
    check_norm(37, 768, BF16, 0.0, with_bias=False, with_residual=False)
    for type in (F32, BF16):
        for width in (128, 640, 1024, 2048):
            check_norm(37, width, type, 0.0, with_bias=False, root=True, with_beside=True)
        check_norm(37, 1024, type, 0.1, root=True, offset=1.0)
        check_norm(37, 768, type, 0.1, with_beside=True, room=24)
        for tokens, width in [(1, 768), (37, 136)] if small else [(1, 768), (1001, 768), (37, 136), (301, 384), (65, 1024), (9, 1536), (77, 2048)]:
            check_sandwich(tokens, width, type, 0.0, root=True, with_bias=False)
            check_sandwich(tokens, width, type, 0.1, root=False, with_bias=True, room=16)
    check_embedding(37, 768, BF16, 0.1, with_type=False)
    for tokens, width in [(1, 1), (9, 7), (70, 130)] if small else [(1, 1), (5, 2), (1000, 17), (7, 4097), (100_003, 64)]:
        for type in (BF16, F32):
            for probability in (0.1, 0.0):
                check_dropout(tokens, width, type, probability)
    widths = [(1, 3072), (70, 136), (5, 4096)] if small else [
        (1, 3072), (1001, 3072), (777, 1536), (258, 136), (70, 8), (33, 4096), (50, 8200), (5000, 768)]
    for tokens, width in widths:
        for type in (BF16, F32):
            check_column_sum(tokens, width, type)
            for kind in KINDS:
                check_activation(tokens, width, type, kind)
    for tokens, width in [(1, 8), (33, 136)] if small else [(1, 1152), (1001, 3072), (258, 136), (33, 8200), (5000, 768)]:
        for type in (BF16, F32):
            for index, kind in enumerate(KINDS):
                check_gate(tokens, width, type, kind, index % 2, with_bias=index < 2, room=8 * index)
    for size in (32, 64, 128, 256):
        for type in (BF16, F32):
            for tokens, queries, keys in [(1, 1, 1), (37, 4, 2)] if small else [(1, 1, 1), (701, 12, 12), (1001, 16, 8), (333, 3, 1)]:
                check_heads(tokens, queries, keys, size, type, norms=False, turned=True)
                check_heads(tokens, queries, keys, size, type, norms=True, turned=True, offset=1.0)
            check_heads(50, 4, 2, size, type, norms=True, turned=False)
    for tokens, width in [(1, 768), (33, 136), (70, 384)] if small else [
            (1, 768), (31, 384), (32, 136), (33, 768), (64, 8), (65, 1024), (1000, 768), (9001, 384)]:
        for name, indices in index_sets(tokens).items():
            for type in (BF16, F32):
                check_add_rows(tokens, width, type, indices, name)
    for width in (136, 768) if small else (8, 64, 136, 384, 768, 1024, 1032, 2056, 4096):
        for name, lengths in length_sets().items():
            for type in (BF16, F32):
                for kind in POOLINGS:
                    for normalized in (False, True):
                        check_pool(lengths, name, width, type, kind, normalized)
                check_pool(lengths, name, width, type, 'max', True, ties=True)
    for size in (0.0, 1e-14, 1e-9):  # norms below 1e-12 are not what a row is divided by
        for kind in POOLINGS:
            check_pool([3, 1, 5], 'three', 136, F32, kind, True, size=size)
    check_threads()
    check_refusals()
    if not small:
        check_norm(32768, 768, BF16, 0.1)
        check_embedding(32768, 768, BF16, 0.1)
        check_activation(32768, 3072, BF16, 'gelu')
        check_column_sum(32768, 2304, BF16)
        check_add_rows(32768, 768, BF16, index_sets(32768)['words'], 'words')
    torch.cuda.synchronize()
    for group, error in sorted(worst.items()):
        print(f'ok {group} l2={error:.2e}' if not any(f.startswith(group) for f in failures) else f'FAILED {group} l2={error:.2e}')
    print(f'{len(failures)} failures')


# ---- times ------------------------------------------------------------------------------------------------------------------
CEILING = 4.17e12  # bytes a second, read and written, that a copy reaches on an H200


def measure(run, sets, repetitions=24):
    """Median milliseconds of run(k), k turning through the sets of buffers."""
    for k in range(3):
        run(k % sets)
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2 * repetitions)]
    torch.cuda._sleep(4_000_000)  # the host gets ahead, so that no launch is waited for
    for k in range(repetitions):
        events[2 * k].record()
        run(k % sets)
        events[2 * k + 1].record()
    torch.cuda.synchronize()
    times = sorted(events[2 * k].elapsed_time(events[2 * k + 1]) for k in range(repetitions))
    return times[repetitions // 2]


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
        lambda k: call('norm_backward', shape, a[k], None, b[k], mean, rstd, scale, shift, 0, 0.0, key, c[k], d[k], e[k], *g, workspace), sets))
    report(f'{label} norm backward: dsum, dx', 4 * one, measure(
        lambda k: call('norm_backward', shape, a[k], None, b[k], mean, rstd, scale, shift, 0, 0.0, key, c[k], d[k], None, *g, workspace), sets))

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


torch.manual_seed(int.from_bytes(os.urandom(4), 'little'))
print('seed', torch.initial_seed())
check()
if not arguments.small and not failures:
    with torch.no_grad():
        time_all()
if failures:
    sys.exit('\n'.join(failures))
