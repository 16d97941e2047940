"""Checks the CUDA kernels that work on rows: norms, embeddings, activations, column sums, rows of tables, pooling.

    python3 test/cuda/rows.py [--small] [--library build-cuda/libgradcache_cuda.so]

Every function against a float64 reference on fresh random data: odd sizes, both types, dropout or none, gradients that
accumulate, the same bits from a second run. --small checks tiny shapes only, for compute-sanitizer."""

import math
import os
import sys
import threading

from kernels import DEVICE, Key, arguments, call, make_key  # first: it decides how torch allocates
from row_functions import (BF16, EPSILON, F32, KINDS, POOLINGS, TYPE, Heads, Sandwich, SandwichBackward, factor, factors, normal,
                           offsets_of, poison, rows, scratch)
import torch
import torch.nn.functional as F

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


def roomy(tokens, width, room, type):
    """Poisoned rows with so many columns behind each, which a kernel must leave as they are."""
    return poison(tokens, width + room, type=type).narrow(1, 0, width)


def check_room(name, rows, room):
    if room and not rows.as_strided((rows.size(0), room), rows.stride(), rows.size(1)).isnan().all():
        failures.append(f'{name}: wrote behind its rows')


def normalize(sum, scale, shift):
    return F.layer_norm(sum, (sum.size(1),), scale.double(), shift.double(), EPSILON)


def check_norm(tokens, width, type, probability, with_bias=True, with_residual=True, root=False, offset=0.0, with_beside=False, room=0,
               with_shift=True):
    """With `root` the norm by the root of the mean square, which has no shift here and no mean."""
    where = f'{tokens}x{width} {str(type)[6:]} p={probability}{" root" if root else ""}'
    shape, key = rows(type, tokens, width), make_key(probability, seed=tokens * 7 + width)
    x, residual = normal(tokens, width, type=type), normal(tokens, width, type=type, std=2.0, mean=0.3)
    bias, scale, shift = normal(width, type=type), normal(width, type=type, mean=1.0, std=0.2), normal(width, type=type)
    kept = factor(key, tokens, width)
    shift = shift if with_shift and not root else None
    beside = normal(tokens, width + 3 * room, type=type).narrow(1, 0, width) if with_beside else None

    def reference_of(wide):
        if not root:
            return F.layer_norm(wide, (width,), scale.double() + offset, shift.double() if with_shift else None, EPSILON)
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
        # Rows of the three lie apart by different numbers of columns.
        dsum = roomy(tokens, width, room, type)
        dx = dsum if shared else roomy(tokens, width, 2 * room, type) if with_dx else None
        y = poison(tokens, width, type=type) if with_y else None
        gradients = [g.clone() for g in before]
        call('norm_backward', shape, dy, beside, width + 3 * room, sum, mean, rstd, scale, shift, int(root), offset, key, dsum,
             width + room, dx, width + (room if shared else 2 * room), y, gradients[0], gradients[1] if shift is not None else None,
             gradients[2] if with_bias_gradient else None, scratch('norm_backward', shape))
        check_room(f'norm_backward {where}', dsum, room)
        if dx is not None and not shared:
            check_room(f'norm_backward {where}', dx, 2 * room)
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
    expected = [before[0] + (dy.double() * n).sum(0), before[1] + (0 if shift is None else dy.double().sum(0)), before[2] + dx.sum(0)]
    for name, got, reference in zip(('scale', 'shift', 'bias'), result[3:], expected):
        close(f'norm_backward {name} {where}', got, reference, GRADIENT)
    for index, again in enumerate(backward()):
        same(f'norm_backward twice {index} {where}', again, result[index])
    without = backward(with_y=False, with_dx=probability > 0)
    for index in (0, 3, 4, 5):
        same(f'norm_backward without y {index} {where}', without[index], result[index])
    alone = backward(with_bias_gradient=False)  # without a shift, the scale's is the only gradient: a kernel of its own
    close(f'norm_backward alone dsum {where}', alone[0], wide.grad, rounding(type))
    close(f'norm_backward alone dx {where}', alone[1], dx, rounding(type))
    close(f'norm_backward alone scale {where}', alone[3], expected[0], GRADIENT)
    same(f'norm_backward alone y {where}', alone[2], y)
    for index, again in enumerate(backward(with_bias_gradient=False)):
        same(f'norm_backward alone twice {index} {where}', again, alone[index])
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
        check_sandwich_backward(where, shape, two, one, scales, offset, type, room)


def check_sandwich_backward(where, shape, outer, inner, scales, offset, type, room):
    """Against two backward passes; `outer` and `inner` are what norms gave: y, sum, mean, rstd."""
    tokens, width = shape.tokens, shape.width
    dy, before = normal(tokens, width, type=type), normal(2, width)
    beside = normal(tokens, width + 2 * room, type=type).narrow(1, 0, width)
    expected, none = before.clone(), make_key(0.0, seed=0)

    def backward(dy, beside, norm, index, y):
        dsum = poison(tokens, width, type=type)
        call('norm_backward', shape, dy, beside, width + 2 * room, norm[1], None, norm[3], scales[index], None, 1, offset, none, dsum, width,
             None, width, y, expected[index], None, None, scratch('norm_backward', shape))
        return dsum

    again = poison(tokens, width, type=type)
    dsum = backward(dy, beside, outer, 1, again)
    dx = backward(dsum, None, inner, 0, None)
    pointers = [v.data_ptr() if v is not None else None for v in (
        dy, beside, outer[1], None, outer[3], scales[1], inner[1], None, inner[3], scales[0])]
    sandwich = SandwichBackward(*pointers[:2], width + 2 * room, *pointers[2:], 1, offset)

    def fused():
        dsum, dx, y, gradients = poison(tokens, width, type=type), roomy(tokens, width, room, type), poison(tokens, width, type=type), before.clone()
        call('sandwich_norm_backward', shape, sandwich, dsum, dx, width + room, y, gradients[1], gradients[0], scratch('norm_backward', shape))
        check_room(f'sandwich_norm_backward {where}', dx, room)
        return dsum, dx, y, gradients

    got = fused()
    # A row's sums have another order where its vectors are dealt to more warps.
    for name, one, other, limit in zip(('dsum', 'dx', 'scales'), (got[0], got[1], got[3]), (dsum, dx, expected),
                                       (rounding(type), rounding(type), 1e-3 if type is BF16 else GRADIENT)):
        close(f'sandwich_norm_backward {name} {where}', one, other, limit)
    same(f'sandwich_norm_backward y {where}', got[2], again)
    for index, twice in enumerate(fused()):
        same(f'sandwich_norm_backward twice {index} {where}', twice, got[index])


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

    parts, turned_columns, columns = x.view(tokens, -1, size), (queries + keys) * size, qkv.size(1)
    expected = torch.cat([prepared(parts[:, :queries], wide[0]), prepared(parts[:, queries:queries + keys], wide[1])], 1).reshape(tokens, -1)
    out = roomy(tokens, turned_columns, 16, type)
    call('heads_forward', heads, qkv, columns, out, out.stride(0))
    close(f'heads_forward {where}', out, expected.detach(), 2.5e-3 if type is BF16 else 2e-6)
    check_room(f'heads_forward {where}', out, 16)
    inplace = qkv.clone()
    call('heads_forward', heads, inplace, columns, inplace, columns)
    same(f'heads_forward in place {where}', inplace[:, :turned_columns], out)
    same(f'heads_forward values in place {where}', inplace[:, turned_columns:], qkv[:, turned_columns:])
    d, before = normal(tokens, turned_columns, type=type), [normal(size) for _ in range(2)]

    def backward(room):
        gradient, sums = roomy(tokens, turned_columns, room, type), [each.clone() for each in before]
        gradient.copy_(d)
        call('heads_backward', heads, qkv if norms else None, columns, gradient, gradient.stride(0), *sums, scratch('heads_backward', heads))
        check_room(f'heads_backward {where}', gradient, room)
        return gradient, *sums

    result = backward(0)
    expected.backward(d.double())
    close(f'heads_backward dqkv {where}', result[0], x.grad[:, :turned_columns], 4e-3 if type is BF16 else 3e-6)
    if norms:
        for index in range(2):
            close(f'heads_backward scale {index} {where}', result[1 + index], before[index] + wide[index].grad, GRADIENT)
    for index, again in enumerate(backward(24)):
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
                call('norm_backward', shape, dy, None, width, sum, mean, rstd, scale, scale, 0, 0.0, Key(0, 0, 0, 1.0), dsum, width, None, width,
                     None, *gradients.unbind(0), scratch('norm_backward', shape))
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
            check_norm(37, width, type, 0.0, with_bias=False, root=True, with_beside=True, room=8)
            check_norm(37, width, type, 0.0, with_bias=False, with_shift=False)
        check_norm(37, 1024, type, 0.1, root=True, offset=1.0)
        check_norm(37, 768, type, 0.1, with_beside=True, room=24)
        for tokens, width in [(1, 768), (37, 136)] if small else [(1, 768), (1001, 768), (37, 136), (301, 384), (65, 1024), (9, 1536), (77, 2048)]:
            check_sandwich(tokens, width, type, 0.0, root=True, with_bias=False, room=16)
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
        # More rows and heads than blocks take at once.
        for width in (768, 1024, 2048):
            check_norm(6001, width, BF16, 0.0, with_bias=False, root=True, with_beside=True)
            check_sandwich(6001, width, BF16, 0.0, root=True, with_bias=False)
        for size in (32, 64, 128, 256):
            check_heads(10_007, 5, 2, size, BF16, norms=True, turned=True)
        check_norm(32768, 768, BF16, 0.1)
        check_embedding(32768, 768, BF16, 0.1)
        check_activation(32768, 3072, BF16, 'gelu')
        check_column_sum(32768, 2304, BF16)
        check_add_rows(32768, 768, BF16, index_sets(32768)['words'], 'words')
    torch.cuda.synchronize()
    for group, error in sorted(worst.items()):
        print(f'ok {group} l2={error:.2e}' if not any(f.startswith(group) for f in failures) else f'FAILED {group} l2={error:.2e}')
    print(f'{len(failures)} failures')


if __name__ == '__main__':
    torch.manual_seed(int.from_bytes(os.urandom(4), 'little'))
    print('seed', torch.initial_seed())
    check()
    if failures:
        sys.exit('\n'.join(failures))
