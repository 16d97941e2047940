"""Checks and times the CUDA kernels on scores: sums of exponentials by row and column, and tiles of probabilities.

    python3 test/cuda/similarity.py [--small | --checks | --times] [--library build-cuda/libgradcache_cuda.so]

Against float64 on the same half-precision values, and gradients against float64 on values that were not rounded: odd sizes,
left-out pairs, scores of every size, bounds that are wrong, sums taken in parts, the same bits from a second run. Then the
time of each part of InfoNCE with gradients. --small checks tiny shapes only, for compute-sanitizer."""

import ctypes
import math
import sys
import threading
import time

from kernels import DEVICE, arguments, call, library  # first: it decides how torch allocates
import torch

TYPES = {torch.bfloat16: 1, torch.float16: 2}
LOG2E = math.log2(math.e)


class Scores(ctypes.Structure):
    _fields_ = [('type', ctypes.c_int), ('rows', ctypes.c_void_p), ('columns', ctypes.c_void_p), ('row_count', ctypes.c_int64),
                ('column_count', ctypes.c_int64), ('width', ctypes.c_int64), ('row_stride', ctypes.c_int64), ('column_stride', ctypes.c_int64),
                ('factor', ctypes.c_double), ('bound', ctypes.c_float), ('leaves_out', ctypes.c_int32), ('left_out', ctypes.c_int64),
                ('targets', ctypes.c_void_p), ('target_count', ctypes.c_int32), ('target_stride', ctypes.c_int64), ('first_column', ctypes.c_int64),
                ('stream', ctypes.c_void_p)]


class Lengths(ctypes.Structure):
    _fields_ = [('count', ctypes.c_int32), ('joined', ctypes.c_uint32), ('lengths', ctypes.c_int64 * 8), ('row_factors', ctypes.c_void_p), ('column_factors', ctypes.c_void_p),
                ('row_factor_stride', ctypes.c_int64), ('column_factor_stride', ctypes.c_int64)]


class Nested(ctypes.Structure):
    _fields_ = [('weights', ctypes.c_float * 8), ('row_normalizers', ctypes.c_void_p), ('column_normalizers', ctypes.c_void_p),
                ('row_normalizer_stride', ctypes.c_int64), ('column_normalizer_stride', ctypes.c_int64), ('tiles', ctypes.c_void_p), ('stride', ctypes.c_int64),
                ('row_turns', ctypes.c_void_p), ('column_turns', ctypes.c_void_p), ('row_turn_stride', ctypes.c_int64), ('column_turn_stride', ctypes.c_int64)]


P, S = ctypes.c_void_p, ctypes.POINTER(Scores)
library.gradcache_scores_statistics.argtypes = [S, P, P, P]
library.gradcache_scores_statistics_scratch.argtypes = [S, ctypes.c_int]
library.gradcache_scores_probabilities.argtypes = [S, P, P, P, P, ctypes.c_int64, P]
library.gradcache_scores_probabilities_scratch.argtypes = [S]
library.gradcache_scores_sigmoid.argtypes = [S, ctypes.c_double, ctypes.c_float, P, P, ctypes.c_int64, P, P, P]
library.gradcache_scores_sigmoid_scratch.argtypes = [S]
for name in ('statistics', 'probabilities', 'sigmoid'):
    getattr(library, f'gradcache_scores_{name}_scratch').restype = ctypes.c_size_t


library.gradcache_nested_reference.argtypes, library.gradcache_nested_reference.restype = [ctypes.c_float], ctypes.c_float
library.gradcache_nested_statistics.argtypes = [S, ctypes.POINTER(Lengths), P, ctypes.c_int64, P, ctypes.c_int64, P]
library.gradcache_nested_statistics_scratch.argtypes = [S, ctypes.POINTER(Lengths), ctypes.c_int]
library.gradcache_nested_statistics_scratch.restype = ctypes.c_size_t
library.gradcache_nested_tiles.argtypes = [S, ctypes.POINTER(Lengths), ctypes.POINTER(Nested), P]
library.gradcache_nested_tiles_scratch.argtypes = [S, ctypes.POINTER(Lengths)]
library.gradcache_nested_tiles_scratch.restype = ctypes.c_size_t


def scores(x, y, factor, bound=None, left_out=None, targets=None, first_column=0):
    bound = factor if bound is None else bound
    return Scores(TYPES[x.dtype], x.data_ptr(), y.data_ptr(), x.shape[0], y.shape[0], x.shape[1], x.stride(0), y.stride(0), factor, bound,
                  left_out is not None, left_out or 0, None if targets is None else targets.data_ptr(), 0 if targets is None else len(targets),
                  0 if targets is None else targets.stride(0), first_column, torch.cuda.current_stream().cuda_stream)


def none(count):
    return torch.tensor([-math.inf, 0.0], device=DEVICE).repeat(count, 1)


def scratch(bytes):
    return torch.full((max(bytes, 16),), 0xff, device=DEVICE, dtype=torch.uint8) if bytes < 1 << 28 else torch.empty(bytes, device=DEVICE, dtype=torch.uint8)


def statistics(s, rows, columns, memory=None):
    memory = memory if memory is not None else scratch(library.gradcache_scores_statistics_scratch(s, columns is not None))
    call('scores_statistics', s, rows, columns, memory)


def normalizers(sums):
    return sums[:, 0] + sums[:, 1].log2()


def probabilities(s, rows, columns, target, memory=None, rest=None):
    memory = memory if memory is not None else scratch(library.gradcache_scores_probabilities_scratch(s))
    call('scores_probabilities', s, rows, columns, target, rest, target.stride(0), memory)


def sigmoids(s, bias, weight, target, losses, sums, memory=None, rest=None):
    memory = memory if memory is not None else scratch(library.gradcache_scores_sigmoid_scratch(s))
    call('scores_sigmoid', s, bias, weight, target, rest, target.stride(0), losses, sums, memory)


# ---- checks ----------------------------------------------------------------------------------------------------------
failures, worst = [], {}


def near(group, name, got, expected, limit, relative=True):
    error = (got.double() - expected).norm() / expected.norm() if relative else (got.double() - expected).abs().max()
    error = error.item()
    worst[group] = max(worst.get(group, 0.0), error if error == error else math.inf)
    if not error <= limit:
        failures.append(f'{group}: {error:.2e}, at most {limit:.0e} expected ({name})')


def same(group, name, one, other):
    if not torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8)):
        failures.append(f'{group}: the bits differ ({name})')


def unit(count, width):
    x = torch.randn(count, width, device=DEVICE)
    return x / x.norm(dim=1, keepdim=True)


def reference(x, y, factor, left_out, targets):
    s = x.double() @ y.double().t() * factor
    if left_out is not None:
        i = torch.arange(x.shape[0], device=DEVICE)
        inside = (i + left_out >= 0) & (i + left_out < y.shape[0])
        s[i[inside], i[inside] + left_out] = -math.inf
    for each in targets if targets is not None else ():
        present = ((each >= 0) & (each < y.shape[0])).nonzero().flatten()
        s[present, each[present].long()] = -math.inf
    return s


def rounding(width, largest):
    """What the logarithm to base 2 of a sum may lose: tensor cores cut a score's last place off with every 16 products."""
    return 3e-6 * (1 + largest) + width / 16 * 2**-23 * largest * LOG2E


def least(p):
    """What the smallest step of float16 makes of the numbers, relative to all."""
    return 2**-25 * p.numel() ** 0.5 / p.norm().item()


def check(rows, columns, width, type, factor=20.0, bound=None, left_out=None, length=1.0, parts=False, targets=0):
    name = f'{rows} x {columns} x {width} {str(type)[6:]} factor={factor} bound={bound} left_out={left_out} length={length} parts={parts} targets={targets}'
    targets = torch.randint(-1, columns, (targets, rows), device=DEVICE, dtype=torch.int32) if targets else None
    x, y = (unit(rows, width) * length).to(type), (unit(columns, width) * length).to(type)
    y[:min(rows, columns)] = (x[:min(rows, columns)].float() + 0.5 * length * unit(min(rows, columns), width)).to(type)
    expected = reference(x, y, factor, left_out, targets)
    largest = max(factor, expected[expected.isfinite()].abs().max().item() if expected.isfinite().any() else 0)
    loss = rounding(width, largest)
    lse_rows, lse_columns = expected.logsumexp(1) * LOG2E, expected.logsumexp(0) * LOG2E
    s = scores(x, y, factor, bound, left_out, targets)
    found = none(rows), none(columns)
    if parts:  # rectangles of the matrix, one after the other
        half, third = (rows // 2 + 7) // 8 * 8, (columns // 3 + 7) // 8 * 8
        for a, b in ((0, half), (half, rows)):
            for c, d in ((0, third), (third, columns)):
                offset = None if left_out is None else left_out + a - c
                statistics(scores(x[a:b], y[c:d], factor, bound, offset, None if targets is None else targets[:, a:b], c), found[0][a:b], found[1][c:d])
    else:
        statistics(s, *found)
    for what, sums, lse in (('rows', found[0], lse_rows), ('columns', found[1], lse_columns)):
        present = lse.isfinite()
        if present.any():
            near(f'statistics {what}', name, normalizers(sums)[present], lse[present], loss, relative=False)
        if not (sums[~present, 1] == 0).all():
            failures.append(f'statistics {what}: sums of nothing ({name})')
    again = none(rows), none(columns)
    if not parts:
        statistics(s, *again)
        same('statistics rows twice', name, again[0], found[0])
        same('statistics columns twice', name, again[1], found[1])
        only = none(rows)
        statistics(s, only, None)
        present = lse_rows.isfinite()
        if present.any():
            near('statistics of rows alone', name, normalizers(only)[present], lse_rows[present], loss, relative=False)
    # The probabilities, with sums of the reference; a fifth of the rows has no weight.
    stride = (columns + 7) // 8 * 8 + 8
    weights = torch.rand(rows, device=DEVICE)
    weights[::5] = 0
    row_n = (lse_rows - weights.double().log2()).float()
    row_n[lse_rows == -math.inf] = math.inf
    column_n = torch.where(lse_columns.isfinite(), lse_columns, math.inf).float()
    for both in (False, True):
        target = torch.full((rows, stride), math.nan, device=DEVICE, dtype=type)
        probabilities(s, row_n, column_n if both else None, target)
        p = torch.exp2(expected * LOG2E - row_n.double()[:, None]).nan_to_num(0)
        if both:
            p = p + torch.exp2(expected * LOG2E - column_n.double()).nan_to_num(0)
        if p.norm() > 0:
            near(f'probabilities {"both" if both else "rows"} {str(type)[6:]}', name, target[:, :columns], p, (5e-3 if type is torch.bfloat16 else 7e-4) + loss)
        second = torch.full_like(target, math.nan)
        probabilities(s, row_n, column_n if both else None, second)
        same('probabilities twice', name, second, target)
        if not target[:, columns:].isnan().all():
            failures.append(f'probabilities: written beyond the columns ({name})')
        if type is torch.float16:
            rest = torch.full_like(target, math.nan)
            probabilities(s, row_n, column_n if both else None, second, rest=rest)
            same('probabilities with a rest', name, second, target)
            if p.norm() > 0:
                near('probabilities with their rest', name, target[:, :columns].double() + rest[:, :columns].double(), p, 2e-6 + 2 * loss + least(p))
            if not rest[:, columns:].isnan().all():
                failures.append(f'probabilities: rest written beyond the columns ({name})')
    # Sigmoids, most of them small or near 1.
    bias, weight = -0.4 * factor, 3.0
    z = expected + bias
    p, rests = weight * z.sigmoid(), (False, True) if type is torch.float16 else (False,)
    for with_rest in rests:
        target = torch.full((rows, stride), math.nan, device=DEVICE, dtype=type)
        rest = torch.full_like(target, math.nan) if with_rest else None
        begin = torch.rand(rows, device=DEVICE), torch.rand(rows, device=DEVICE)
        losses, sums = begin[0].clone(), begin[1].clone()
        sigmoids(s, bias, weight, target, losses, sums, rest=rest)
        got = target[:, :columns].double() + (rest[:, :columns].double() if with_rest else 0)
        if p.norm() > 0:
            near(f'sigmoids {str(type)[6:]} {"with their rest" if with_rest else ""}', name, got, p,
                 2 * loss + least(p) + (1e-5 if with_rest else 5e-3 if type is torch.bfloat16 else 7e-4))
        near('losses of sigmoids', name, losses, begin[0].double() + torch.nn.functional.softplus(z, threshold=100).nan_to_num(0).sum(1), 2e-5 + 2 * loss)
        near('sums of sigmoids', name, sums, begin[1].double() + p.sum(1), 2e-5 + 2 * loss)
        if not target[:, columns:].isnan().all() or (with_rest and not rest[:, columns:].isnan().all()):
            failures.append(f'sigmoids: written beyond the columns ({name})')


def memory_for(s, both, height, breadth):
    part = scores_like(s, height, breadth)
    return scratch(max(library.gradcache_scores_statistics_scratch(s, both), library.gradcache_scores_probabilities_scratch(part)))


def scores_like(s, rows, columns):
    part = Scores.from_buffer_copy(s)
    part.row_count, part.column_count = rows, columns
    return part


def info_nce(x, y, half, factor, both, memory, target, height, breadth, clock=None):
    """Gradients of the sum over rows (and columns) of log-sum-exp less the positive's score, divided by the factor.

    A positive that dominates leaves a gradient of 1 - p, which half precision would round away. So the sweeps leave the
    positives out, and their part is added in float32. Probabilities are scaled so that the largest is near what float16 holds."""
    mark = clock or (lambda name: None)
    count, width = x.shape
    mark('start')
    sums = none(count), none(count) if both else None
    statistics(scores(*half, factor, left_out=0), *sums, memory)
    positive = torch.linalg.vecdot(x, y) * (factor * LOG2E)
    ln2 = math.log(2)
    negatives = [normalizers(each) for each in sums if each is not None]
    all = [torch.logaddexp(each * ln2, positive * ln2) / ln2 for each in negatives]
    missing = [torch.sigmoid((each - positive) * ln2) for each in negatives]  # 1 - p of the positive
    mark('statistics')
    shift = torch.stack(missing).max().log2().neg().floor() + 13 if target.dtype == torch.float16 else torch.zeros((), device=DEVICE)
    n = [each - shift for each in all]
    dx, dy = torch.zeros(count, width, device=DEVICE), torch.zeros(count, width, device=DEVICE)
    for a in range(0, count, height):
        for c in range(0, count, breadth):
            b, d = min(a + height, count), min(c + breadth, count)
            p = target[:b - a, :d - c]
            probabilities(scores(half[0][a:b], half[1][c:d], factor, left_out=a - c), n[0][a:b], n[1][c:d] if both else None, p, memory)
            torch.addmm(dx[a:b], p, half[1][c:d], out_dtype=torch.float32, out=dx[a:b])
            torch.addmm(dy[c:d], p.t(), half[0][a:b], out_dtype=torch.float32, out=dy[c:d])
    weight, scale = sum(missing).unsqueeze(1), torch.exp2(-shift)
    for gradient, other in ((dx, y), (dy, x)):
        for a in range(0, count, 65536):
            gradient[a:a + 65536].mul_(scale).addcmul_(weight[a:a + 65536], other[a:a + 65536], value=-1)
    mark('gradients')
    return all, dx, dy


def gradients(type, both, noise):
    """Against float64 on values that were not rounded."""
    x = unit(4096, 768)
    y = x + noise * unit(4096, 768)
    y = y / y.norm(dim=1, keepdim=True)
    half = x.to(type), y.to(type)
    s = scores(*half, 20.0)
    memory = memory_for(s, True, 2048, 2048)
    target = torch.empty(2048, 2048, device=DEVICE, dtype=type)
    found, dx, dy = info_nce(x, y, half, 20.0, both, memory, target, 2048, 2048)
    exact = x.double() @ y.double().t() * 20
    g = torch.zeros_like(exact)
    for along in (1, 0) if both else (1,):
        p = exact.softmax(along)
        p.fill_diagonal_(0)
        g += p - torch.diag_embed(p.sum(along))  # 1 - p of the positive, without cancellation
    kind = f'{str(type)[6:]} {"both" if both else "one"} noise={noise}'
    near(f'lse {kind}', '', found[0] / LOG2E, exact.logsumexp(1), 3e-3, relative=False)
    near(f'gradient of rows {kind}', '', dx, g @ y.double(), 3e-3)
    near(f'gradient of columns {kind}', '', dy, g.t() @ x.double(), 3e-3)


# ---- float32 by products of float16 (kernels/scores) ------------------------------------------------------------------
def split(x, order):
    """Rows of length 1 as whole numbers of 2^-12, whose products add up without an error, and what is left of them."""
    scaled = x * 4096
    high = scaled.round().half()
    low = (scaled - high.float()).half()
    return torch.cat([low if part == 'l' else high for part in order], 1)


def split_info_nce(x, y, factor, both, memory, target, rest, depth, clock=None):
    """Like info_nce, with 22 bits of each operand. target and rest are as large as a rectangle."""
    mark = clock or (lambda name: None)
    (count, width), (height, breadth) = x.shape, target.shape
    mark('start')
    left, right = split(x, 'lhh'), split(y, 'hlh')
    factor_of = factor * 2.0**-24
    sums = none(count), none(count) if both else None
    statistics(scores(left, right, factor_of, factor, left_out=0), *sums, memory)
    positive = torch.linalg.vecdot(x.double(), y.double()) * factor
    ln2 = math.log(2)
    negatives = [normalizers(each.double()) * ln2 for each in sums if each is not None]
    all = [torch.logaddexp(each, positive) for each in negatives]
    missing = [torch.sigmoid(each - positive) for each in negatives]
    mark('statistics')
    shift = torch.stack(missing).max().log2().neg().floor() + 13
    n = [(each / ln2 - shift).float() for each in all]
    dx, dy = torch.zeros(count, width, device=DEVICE), torch.zeros(count, width, device=DEVICE)

    def product(p, r, other, into):  # the two parts of other side by side: low, high
        for k in range(0, p.shape[1], depth):
            part, low = p[:, k:k + depth], r[:, k:k + depth]
            beside = other[k:k + depth]
            torch.addmm(into, part, beside, out_dtype=torch.float32, out=into)
            torch.addmm(into[:, :width], low, beside[:, width:], out_dtype=torch.float32, out=into[:, :width])
        return into[:, :width] + into[:, width:]

    for c in range(0, count, breadth):
        d = min(c + breadth, count)
        for a in range(0, count, height):
            b = min(a + height, count)
            p, r = target[:b - a, :d - c], rest[:b - a, :d - c]
            probabilities(scores(left[a:b], right[c:d], factor_of, factor, left_out=a - c), n[0][a:b], n[1][c:d] if both else None, p, memory, r)
            dx[a:b] += product(p, r, right[c:d, width:], torch.zeros(b - a, 2 * width, device=DEVICE))
            dy[c:d] += product(p.t(), r.t(), left[a:b, :2 * width], torch.zeros(d - c, 2 * width, device=DEVICE))
    weight, scale = sum(missing).unsqueeze(1), torch.exp2(-shift - 12)
    for gradient, other in ((dx, y), (dy, x)):
        for a in range(0, count, 65536):
            gradient[a:a + 65536].mul_(scale).sub_(weight[a:a + 65536].float() * other[a:a + 65536])
    mark('gradients')
    return all, dx, dy


def exact_gradients(both, noise, factor=20.0, common=0.0):
    """Against float64. `common` is how much all rows have in common."""
    shared = unit(1, 768) * common
    x = torch.nn.functional.normalize(unit(4096, 768) + shared)
    y = torch.nn.functional.normalize(x + noise * torch.nn.functional.normalize(unit(4096, 768) + shared))
    target = torch.empty(2112, 4096, device=DEVICE, dtype=torch.float16)
    memory = memory_for(scores(split(x, 'lhh'), split(y, 'hlh'), 1.0), True, 2112, 4096)
    found, dx, dy = split_info_nce(x, y, factor, both, memory, target, torch.empty_like(target), 4224)
    exact = x.double() @ y.double().t() * factor
    g = torch.zeros_like(exact)
    for along in (1, 0) if both else (1,):
        p = exact.softmax(along)
        p.fill_diagonal_(0)
        g += p - torch.diag_embed(p.sum(along))
    kind = f'{"both" if both else "one"} noise={noise} factor={factor} common={common}'
    s = x @ y.t() * factor
    p = torch.zeros_like(s)
    for along in (1, 0) if both else (1,):
        part = s.softmax(along).fill_diagonal_(0)
        p += part - torch.diag_embed(part.sum(along))
    # What torch's own float32 loses of these rows, where that is more. Rows that have much in common add up to sums far
    # longer than the gradient, and tensor cores cut each partial sum off.
    error = ((p @ y - g @ y.double()).norm() / (g @ y.double()).norm()).item()
    print(f'torch in float32, {kind}: {error:.2e}', flush=True)
    allowed = max(1e-6, error) if common == 0 else 3e-5
    near(f'lse exact {kind}', '', found[0], exact.logsumexp(1), 5 * allowed, relative=False)
    near(f'gradient of rows exact {kind}', '', dx, g @ y.double(), allowed)
    near(f'gradient of columns exact {kind}', '', dy, g.t() @ x.double(), allowed)


library.gradcache_scores_operand.argtypes = [ctypes.c_int, P, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, P, ctypes.c_float, ctypes.c_int32, P, P]
library.gradcache_unit_gradient.argtypes = [P, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, P, ctypes.c_float, P, ctypes.c_int64, P]


def operands(count, width, stride):
    """Rows in half precision, rounded and split, and the gradient's way back through a division by lengths."""
    x = torch.randn(count, stride, device=DEVICE)[:, :width]
    inverse, stream = 1 / x.norm(dim=1), torch.cuda.current_stream().cuda_stream
    padded, u = (width + 7) // 8 * 8, x * inverse[:, None] * 4096
    for type in TYPES:
        for factors in (inverse, None):
            found = torch.full((count, padded), math.nan, device=DEVICE, dtype=type)
            call('scores_operand', TYPES[type], x, count, width, stride, factors, 1.0, 0, found, stream)
            expected = torch.zeros(count, padded, device=DEVICE, dtype=type)
            expected[:, :width] = x if factors is None else x * inverse[:, None]
            near('operands', f'{count} x {width}', found, expected.double(), 1e-7)
    for number, order in ((1, 'lhh'), (2, 'hlh')):
        found = torch.full((count, 3 * padded), math.nan, device=DEVICE, dtype=torch.float16)
        call('scores_operand', TYPES[torch.float16], x, count, width, stride, inverse, 4096.0, number, found, stream)
        parts = found.double().view(count, 3, padded)
        near('split operands', order, (parts[:, order.index('h')] + parts[:, order.index('l')])[:, :width], u.double(), 1e-6)
        same('split operands', order, parts[:, order.index('h')], parts[:, 2])
        if parts[:, :, width:].any() or (parts[:, order.index('h')] != parts[:, order.index('h')].round()).any():
            failures.append(f'split operands: padding, or no whole numbers ({order})')
    gradient = torch.randn(count, width, device=DEVICE)
    unit_rows, g = x.double() * inverse.double()[:, None], gradient.double()
    expected = 3 * inverse.double()[:, None] * (g - unit_rows * (unit_rows * g).sum(1, keepdim=True))
    call('unit_gradient', x, count, width, stride, inverse, 3.0, gradient, width, stream)
    near('gradients of unit rows', f'{count} x {width}', gradient, expected, 1e-6)


def nested_rows(count, width, lengths, type):
    """Rows in half precision, divided by the length of their shortest beginning, and the factors that make them unit rows."""
    x = torch.randn(count, width, device=DEVICE) * torch.linspace(1, 0.3, width, device=DEVICE)
    x = (x / x[:, :lengths[0]].norm(dim=1, keepdim=True)).to(type)
    return x, torch.stack([1 / x[:, :length].float().norm(dim=1) for length in lengths])


def lengths_of(lengths, factors, joined=0):
    return Lengths(len(lengths), joined, (ctypes.c_int64 * 8)(*lengths), factors[0].data_ptr(), factors[1].data_ptr(), factors[0].stride(0), factors[1].stride(0))


def nested_tiles(s, l, weights, normalizers, tiles, turns, memory=None):
    """Normalizers are [lengths, rows] and [lengths, columns] or None, tiles [count, rows, stride]."""
    memory = memory if memory is not None else scratch(library.gradcache_nested_tiles_scratch(s, l))
    of_columns = normalizers[1] is not None
    n = Nested((ctypes.c_float * 8)(*weights), normalizers[0].data_ptr(), normalizers[1].data_ptr() if of_columns else None, normalizers[0].stride(0),
               normalizers[1].stride(0) if of_columns else 0, tiles.data_ptr(), tiles.stride(1), turns[0].data_ptr(), turns[1].data_ptr(),
               turns[0].stride(0), turns[1].stride(0))
    call('nested_tiles', s, l, n, memory)


def tiles_for(rows, columns, count, type):
    return torch.full((count, (rows + 255) // 256 * 256, (columns + 7) // 8 * 8 + 8), math.nan, device=DEVICE, dtype=type)


def nested_statistics(x, y, factors, lengths, s, sums, memory=None):
    l = lengths_of(lengths, factors)
    memory = memory if memory is not None else scratch(library.gradcache_nested_statistics_scratch(s, l, sums[1] is not None))
    call('nested_statistics', s, l, sums[0], x.shape[0], sums[1], y.shape[0], memory)


def nested(rows, columns, lengths, type, factor=20.0, left_out=None, targets=0, joined=0):
    """Sums at several lengths from one sweep, and tiles of gradients, against float64."""
    name = f'nested {rows} x {columns} {lengths} {str(type)[6:]} factor={factor} left_out={left_out} targets={targets}'
    targets = torch.randint(-1, columns, (targets, rows), device=DEVICE, dtype=torch.int32) if targets else None
    (x, of_rows), (y, of_columns) = nested_rows(rows, lengths[-1], lengths, type), nested_rows(columns, lengths[-1], lengths, type)
    s = scores(x, y, factor, factor * 1.001, left_out, targets)
    start = library.gradcache_nested_reference(factor * 1.001)
    zeros = lambda: (torch.zeros(len(lengths), rows, device=DEVICE), torch.zeros(len(lengths), columns, device=DEVICE))
    found, again, only = zeros(), zeros(), zeros()[0]
    nested_statistics(x, y, (of_rows, of_columns), lengths, s, found)
    nested_statistics(x, y, (of_rows, of_columns), lengths, s, again)
    nested_statistics(x, y, (of_rows, of_columns), lengths, s, (only, None))
    same('nested statistics twice', name, torch.cat(found, 1), torch.cat(again, 1))
    for k, length in enumerate(lengths):
        units = [part[:, :length].double() * factors[k].double()[:, None] for part, factors in ((x, of_rows), (y, of_columns))]
        expected = reference(*units, factor, left_out, targets)
        for what, sums, lse in (('rows', found[0], expected.logsumexp(1)), ('columns', found[1], expected.logsumexp(0)), ('rows alone', only, expected.logsumexp(1))):
            present = lse.isfinite()
            if present.any():
                near(f'nested statistics of {what}', f'{name} length={length}', sums[k][present].log2() + start, lse[present] * LOG2E,
                     rounding(length, factor), relative=False)
            if not (sums[k][~present] == 0).all():
                failures.append(f'nested statistics of {what}: sums of nothing ({name})')
    tiles_of_lengths(name, x, y, (of_rows, of_columns), lengths, s, targets, joined)


def tiles_of_lengths(name, x, y, factors, lengths, s, targets, joined):
    weights = [0.5 + 0.25 * k for k in range(len(lengths))]
    factor, left_out = s.factor, s.left_out if s.leaves_out else None
    units = [[part[:, :length].double() * of[k].double()[:, None] for part, of in ((x, factors[0]), (y, factors[1]))] for k, length in enumerate(lengths)]
    expected = [reference(*pair, factor, left_out, targets) for pair in units]
    finite = lambda lse: torch.where(lse.isfinite(), lse * LOG2E, math.inf).float()
    normalizers = torch.stack([finite(each.logsumexp(1)) for each in expected]), torch.stack([finite(each.logsumexp(0)) for each in expected])
    normalizers[0][:, ::5] = math.inf  # rows of no weight
    l = lengths_of(lengths, factors, joined)
    for both in (False, True):
        if both and s.bound > 72:
            continue
        gradients, turns = [], []
        for k, length in enumerate(lengths):
            p = torch.exp2(expected[k] * LOG2E - normalizers[0][k].double()[:, None]).nan_to_num(0)
            if both:
                p = p + torch.exp2(expected[k] * LOG2E - normalizers[1][k].double()).nan_to_num(0)
            gradients.append(p * weights[k] * factors[0][k].double()[:, None] * factors[1][k].double())
            turns.append(gradients[-1] * (x[:, :length].double() @ y[:, :length].double().t()))
        wanted = [gradients[k] + gradients[k + 1] if joined >> k & 1 else gradients[k] for k in range(len(lengths))]
        runs = []
        for _ in range(2):
            tiles = tiles_for(len(x), len(y), len(wanted), x.dtype)
            sums = torch.ones(len(lengths), len(x), device=DEVICE), torch.ones(len(lengths), len(y), device=DEVICE)
            nested_tiles(s, l, weights, (normalizers[0], normalizers[1] if both else None), tiles, sums)
            runs.append((tiles[:, :len(x), :len(y)].clone(), *sums))
        group = f'nested tiles, {"both" if both else "rows"} {str(x.dtype)[6:]}'
        for one, other in zip(*runs):
            same(f'{group}, twice', name, one, other)
        for k, tile in enumerate(wanted):
            if tile.norm() > 0:
                near(group, f'{name} tile {k}', runs[0][0][k], tile, (8e-3 if x.dtype is torch.bfloat16 else 1e-3) + rounding(lengths[-1], factor))
        for along, found in ((1, runs[0][1]), (0, runs[0][2])):
            joins = torch.tensor([joined >> k & 1 for k in range(len(lengths))], device=DEVICE)[:, None]
            wide = torch.stack([each.sum(along) for each in turns]) * joins
            size = torch.stack([each.abs().sum(along) for each in turns]).norm()
            if size > 0:
                near(f'{group}, turns', name, (found.double() - 1) / size, wide / size, 1e-5 + rounding(lengths[-1], factor), relative=False)
        edge = tiles[:, :, (len(y) + 7) // 8 * 8:]
        if not edge.isnan().all():
            failures.append(f'{group}: written beyond the columns ({name})')


def checks():
    both = tuple(TYPES)
    operands(3, 5, 7)
    operands(300, 77, 80)
    operands(129, 768, 768)
    for type in both:
        check(1, 1, 8, type)
        check(1, 1, 8, type, left_out=0)
        check(5, 3, 16, type, left_out=0)
        if arguments.tiny:
            continue
        check(130, 257, 72, type, left_out=-3)
        check(300, 520, 40, type, factor=100.0, targets=1)
        check(260, 300, 64, type, factor=1000.0)  # references of their own
        if arguments.small:
            continue
        check(129, 128, 64, type, bound=1.0, factor=300.0)  # a bound that is wrong
        check(1000, 777, 768, type)
        check(777, 1500, 384, type, left_out=5)
        check(2048, 2048, 128, type, left_out=0)
        check(3000, 5000, 768, type, factor=100.0)
        check(1025, 2049, 1024, type, factor=1000.0)
        check(1500, 1300, 256, type, factor=1e-3)
        check(1500, 1300, 256, type, factor=1.0, bound=math.inf, length=6.0)
        check(900, 1100, 256, type, parts=True, left_out=0, targets=3)
        check(1030, 700, 64, type, left_out=-100, targets=1)
        check(4500, 9000, 96, type)
        check(900, 1100, 256, type, parts=True, factor=500.0)
        for two in (False, True):
            for noise in (0.5, 2.0, 6.0):  # positives that dominate, and that do not
                gradients(type, two, noise)
    if torch.cuda.get_device_capability() == (9, 0):  # alone has these kernels
        for type in both:
            nested(5, 3, [64], type, left_out=0)
            if arguments.tiny:
                continue
            nested(130, 257, [64, 128, 192], type, left_out=-3, targets=2, joined=2)
            if arguments.small:
                continue
            nested(1000, 777, [64, 128, 256, 512, 768], type, left_out=0, joined=0b01010)
            nested(4500, 9000, [64, 320], type, factor=100.0)
            nested(3000, 5000, [64, 128, 256, 512, 768], type, factor=50.0, targets=1, joined=0b00101)
    if not arguments.small:
        torch.backends.cuda.matmul.allow_tf32 = False
        for two in (False, True):
            for noise in (0.5, 2.0, 6.0):
                exact_gradients(two, noise)
        exact_gradients(False, 2.0, 100.0)
        exact_gradients(True, 2.0, 20.0, 1.0)
    torch.cuda.synchronize()
    for group, error in sorted(worst.items()):
        print(f'{"FAILED" if any(f.startswith(group + ":") for f in failures) else "ok"} {group} {error:.2e}', flush=True)


# ---- times -----------------------------------------------------------------------------------------------------------
# What to expect of an H200, width 768. A product of all N x N scores is 2 * N^2 * 768 FLOP: 1.69e15 at 1,048,576, 2.4 s at 700
# TFLOP/s, about what the card keeps up within its power. One direction or both: a product for the statistics, one for the
# tiles, two for the gradients: 9.7 s. Bytes: operands stay in L2 for a band of tiles, 0.1 TB/s; tiles are written once and
# read twice, 6 N^2 = 6.6e12 bytes, 1.6 s of the memory's time beside 7.2 s of products. Exponentials: one or two of each
# score in each sweep at 16 a cycle and multiprocessor: 128 x 256 take 2,048 cycles beside the 12,288 of their product.
class Meter(threading.Thread):
    """Power and clock while something runs."""

    def __init__(self):
        super().__init__(daemon=True)
        self.samples = []
        try:
            import pynvml
            pynvml.nvmlInit()
            self.nvml, self.handle = pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)
            self.start()
        except Exception as error:
            print('no meter:', error)

    def run(self):
        while True:
            self.samples.append((time.perf_counter(), self.nvml.nvmlDeviceGetPowerUsage(self.handle) / 1000,
                                 self.nvml.nvmlDeviceGetClockInfo(self.handle, 1)))
            time.sleep(0.05)

    def between(self, a, b):
        inside = [s for s in self.samples if a <= s[0] <= b]
        if not inside:
            return ''
        return f'{sum(s[1] for s in inside) / len(inside):.0f} W {sum(s[2] for s in inside) / len(inside):.0f} MHz'


def timed(meter, label, flop, run, seconds=0.25):
    run()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    runs = 0
    while True:
        for _ in range(3):
            run()
        runs += 3
        torch.cuda.synchronize()
        end = time.perf_counter()
        if end - begin > seconds:
            break
    each = (end - begin) / runs
    print(f'{label:60s} {each * 1e3:9.3f} ms {flop / each / 1e12:6.0f} TFLOP/s {meter.between(begin, end)}', flush=True)


def times():
    meter = Meter()
    print(torch.cuda.get_device_name(), torch.__version__, flush=True)
    width, height, breadth = 768, 16896, 33792
    for type in TYPES:
        a, b = unit(8192, 8192).to(type), unit(8192, 8192).to(type)
        timed(meter, f'{str(type)[6:]} torch 8192^3', 2 * 8192**3, lambda: a @ b.t())
    for type in TYPES:
        x, y = unit(65536, width).to(type), unit(65536, width).to(type)
        flop = 2 * 65536 * 65536 * width
        for columns in (False, True):
            s = scores(x, y, 20.0)
            state = none(65536), none(65536) if columns else None
            memory = scratch(library.gradcache_scores_statistics_scratch(s, columns))
            timed(meter, f'{str(type)[6:]} statistics 65536, {"both" if columns else "rows"}', flop, lambda: statistics(s, *state, memory))
        lengths = [64, 128, 256, 512, 768]
        (nx, of_rows), (ny, of_columns) = nested_rows(65536, width, lengths, type), nested_rows(65536, width, lengths, type)
        for columns in (False, True) if torch.cuda.get_device_capability() == (9, 0) else ():
            s = scores(nx, ny, 20.0, 20.1)
            state = torch.zeros(5, 65536, device=DEVICE), torch.zeros(5, 65536, device=DEVICE) if columns else None
            memory = scratch(1 << 30)
            timed(meter, f'{str(type)[6:]} nested statistics 65536, five lengths, {"both" if columns else "rows"}', flop,
                  lambda: nested_statistics(nx, ny, (of_rows, of_columns), lengths, s, state, memory))
        height, breadth, s = 16896, 8448, scores(nx[:16896], ny[:8448], 20.0, 20.1)
        tiles = tiles_for(height, breadth, 5, type)
        sums = torch.zeros(5, height, device=DEVICE), torch.zeros(5, breadth, device=DEVICE)
        l, memory = lengths_of(lengths, (of_rows, of_columns), 0b01010), scratch(1 << 28)
        normal = torch.full((5, height), 20.0, device=DEVICE), torch.full((5, breadth), 20.0, device=DEVICE)
        for both in (False, True) if torch.cuda.get_device_capability() == (9, 0) else ():
            timed(meter, f'{str(type)[6:]} nested tiles {height} x {breadth}, five lengths, {"both" if both else "rows"}', 2 * height * breadth * width,
                  lambda: nested_tiles(s, l, [1.0] * 5, (normal[0], normal[1] if both else None), tiles, sums, memory))
        tiles.normal_()
        dx, dy = torch.zeros(height, width, device=DEVICE), torch.zeros(breadth, width, device=DEVICE)

        def products():
            for tile, (begin, end) in zip(tiles, ((0, 64), (0, 128), (128, 256), (0, 512), (512, 768))):
                p = tile[:height, :breadth]
                torch.addmm(dx[:, begin:end], p, ny[:breadth, begin:end], out_dtype=torch.float32, out=dx[:, begin:end])
                torch.addmm(dy[:, begin:end], p.t(), nx[:height, begin:end], out_dtype=torch.float32, out=dy[:, begin:end])
        timed(meter, f'{str(type)[6:]} products of nested tiles {height} x {breadth}, both sides', 4 * height * breadth * width, products)
        for begin, end in ((0, 64), (0, 128), (128, 256), (0, 256), (0, 512), (512, 768), (0, 768)):
            p = tiles[0][:height, :breadth]
            timed(meter, f'{str(type)[6:]} product dx of {end - begin}', 2 * height * breadth * (end - begin),
                  lambda: torch.addmm(dx[:, begin:end], p, ny[:breadth, begin:end], out_dtype=torch.float32, out=dx[:, begin:end]), 0.1)
            timed(meter, f'{str(type)[6:]} product dy of {end - begin}', 2 * height * breadth * (end - begin),
                  lambda: torch.addmm(dy[:, begin:end], p.t(), nx[:height, begin:end], out_dtype=torch.float32, out=dy[:, begin:end]), 0.1)
        del nx, ny, tiles, dx, dy
        height, breadth = 16896, 33792
        state = none(65536), none(65536)
        sums = none(65536), none(65536)
        s = scores(x, y, 20.0)
        memory = memory_for(s, True, height, breadth)
        statistics(s, *sums, memory)
        row_n, column_n = normalizers(sums[0]), normalizers(sums[1])
        target = torch.empty(height, breadth, device=DEVICE, dtype=type)
        s = scores(x[:height], y[:breadth], 20.0)
        for both in (False, True):
            timed(meter, f'{str(type)[6:]} tile {height} x {breadth}, {"both" if both else "rows"}', 2 * height * breadth * width,
                  lambda: probabilities(s, row_n, column_n if both else None, target, memory))
        s = scores(x, y, 20.0, math.inf)
        timed(meter, f'{str(type)[6:]} statistics 65536, no bound, both', flop, lambda: statistics(s, *state, memory))
        for h, w in ((height, breadth), (16384, 32768), (8448, 33792), (33792, 16896)):
            target = torch.rand(h, w, device=DEVICE).to(type)
            dx, dy = torch.zeros(h, width, device=DEVICE), torch.zeros(w, width, device=DEVICE)
            timed(meter, f'{str(type)[6:]} product dx of a tile {h} x {w}', 2 * h * w * width,
                  lambda: torch.addmm(dx, target, y[:w], out_dtype=torch.float32, out=dx))
            timed(meter, f'{str(type)[6:]} product dy of a tile {h} x {w}', 2 * h * w * width,
                  lambda: torch.addmm(dy, target.t(), x[:h], out_dtype=torch.float32, out=dy))
        del target, dx, dy
    for type in TYPES:
        for count in (65536, 262144, 1048576):
            if count == 1048576 and type is torch.float16:
                continue
            x = unit(count, width)
            y = unit(count, width)
            half = x.to(type), y.to(type)
            s = scores(*half, 20.0)
            for both in (False, True):
                memory = memory_for(s, both, height, breadth)
                target = torch.empty(height, breadth, device=DEVICE, dtype=type)
                for _ in range(1 if count == 1048576 else 2):
                    marks = []

                    def clock(name):
                        torch.cuda.synchronize()
                        marks.append((name, time.perf_counter()))

                    info_nce(x, y, half, 20.0, both, memory, target, height, breadth, clock)
                total = marks[-1][1] - marks[0][1]
                parts = ', '.join(f'{b[0]} {b[1] - a[1]:.4f}' for a, b in zip(marks, marks[1:]))
                print(f'{str(type)[6:]} {count} {"both" if both else "one"}: {parts}, total {total:.4f} s, {8 * count * count * width / total / 1e12:.0f} TFLOP/s '
                      f'of four products, scratch {memory.numel() / 2**20:.0f} MiB + tile {target.numel() / 2**19:.0f} MiB, {meter.between(marks[0][1], marks[-1][1])}', flush=True)
                del memory, target


def exact_times():
    width = 768
    for count in (65536, 262144):
        x, y = unit(count, width), unit(count, width)
        for type in TYPES:
            target = torch.empty(16896, 33792, device=DEVICE, dtype=type)
            half = x.to(type), y.to(type)
            memory = memory_for(scores(*half, 20.0), False, 16896, 33792)
            for _ in range(2):
                torch.cuda.synchronize()
                begin = time.perf_counter()
                info_nce(x, y, half, 20.0, False, memory, target, 16896, 33792)
                torch.cuda.synchronize()
                print(f'{str(type)[6:]} {count} one: {time.perf_counter() - begin:.4f} s', flush=True)
            del target, memory, half
        for height, breadth, depth in ((8448, 16896, 4224), (8448, 16896, 8448), (16896, 16896, 8448)):
            for both in (False, True) if (height, depth) == (8448, 4224) else (False,):
                s = scores(torch.empty(count, 3 * width, device=DEVICE, dtype=torch.float16), torch.empty(count, 3 * width, device=DEVICE, dtype=torch.float16), 20.0)
                memory = memory_for(s, both, height, breadth)
                target = torch.empty(height, breadth, device=DEVICE, dtype=torch.float16)
                rest = torch.empty_like(target)
                for _ in range(2 if count == 65536 else 1):
                    marks = []

                    def clock(name):
                        torch.cuda.synchronize()
                        marks.append((name, time.perf_counter()))

                    split_info_nce(x, y, 20.0, both, memory, target, rest, depth, clock)
                total = marks[-1][1] - marks[0][1]
                parts = ', '.join(f'{b[0]} {b[1] - a[1]:.4f}' for a, b in zip(marks, marks[1:]))
                print(f'exact {count} {"both" if both else "one"} tile {height} x {breadth} depth {depth}: {parts}, total {total:.4f} s, '
                      f'{8 * count * count * width / total / 1e12:.0f} TFLOP/s of four products', flush=True)
                del memory, target, rest, s


torch.manual_seed(20)
if arguments.exact:
    exact_times()
    sys.exit()
if not arguments.times:
    checks()
if failures:
    print('\n'.join(failures[:40]))
    sys.exit(f'{len(failures)} checks failed')
if not arguments.times:
    print('all checks passed', flush=True)
if not arguments.small and not arguments.checks:
    times()
