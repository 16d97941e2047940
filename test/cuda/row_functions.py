"""The library's functions on rows: their structures and signatures, and what their checks and times share."""

import ctypes
import math

from kernels import DEVICE, Key, factor_at, library  # first: it decides how torch allocates
import torch

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
    _fields_ = [('dy', ctypes.c_void_p), ('beside', ctypes.c_void_p), ('besideStride', ctypes.c_int64),
                *((name, ctypes.c_void_p) for name in ('sum', 'mean', 'rstd', 'scale', 'innerSum', 'innerMean', 'innerRstd', 'innerScale')),
                ('rootSquare', ctypes.c_int), ('offset', ctypes.c_float)]


class Sandwich(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_void_p) for name in ('x', 'bias', 'residual', 'innerScale', 'innerShift', 'scale', 'shift')),
                ('rootSquare', ctypes.c_int), ('offset', ctypes.c_float), ('epsilon', ctypes.c_float)]


# ---- signatures -------------------------------------------------------------------------------------------------------
P, R, I, L, FLOAT = ctypes.c_void_p, ctypes.POINTER(Rows), ctypes.c_int, ctypes.c_int64, ctypes.c_float
SIGNATURES = {
    'dropout': [R, P, P, Key, P],
    'norm_forward': [R, P, P, P, P, P, I, FLOAT, FLOAT, Key, P, L, P, P, P],
    'sandwich_norm_forward': [R, ctypes.POINTER(Sandwich), Key, P, L, P, P, P, P, P, P],
    'sandwich_norm_backward': [R, ctypes.POINTER(SandwichBackward), P, P, L, P, P, P, P],
    'norm_backward': [R, P, P, L, P, P, P, P, P, I, FLOAT, Key, P, L, P, L, P, P, P, P, P],
    'embedding_forward': [R, P, P, P, P, P, P, P, FLOAT, Key, P, P, P, P],
    'embedding_backward': [R, P, P, P, P, P, P, Key, P, P, P, P, P],
    'add_rows': [R, P, P, P, P, P],
    'activation_forward': [R, I, P, P, P],
    'activation_backward': [R, I, P, P, P, P, P, P, P],
    'column_sum': [R, P, P, P],
    'gate_forward': [R, I, I, P, P, P, L],
    'gate_backward': [R, I, I, P, P, P, P, L, P, P, P],
    'heads_forward': [ctypes.POINTER(Heads), P, L, P, L],
    'heads_backward': [ctypes.POINTER(Heads), P, L, P, L, P, P, P],
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


def normal(*shape, type=F32, std=1.0, mean=0.0):
    return (torch.randn(*shape, device=DEVICE) * std + mean).to(type)


def poison(*shape, type=F32):
    return torch.full(shape, math.nan, device=DEVICE, dtype=type)


def offsets_of(lengths):
    return torch.tensor([0, *lengths], device=DEVICE).cumsum(0).int()
