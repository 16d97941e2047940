"""What the checks of the CUDA library share: its arguments, how its functions are called, and its dropout in PyTorch."""

import argparse
import ctypes
import os

arguments = argparse.ArgumentParser()
arguments.add_argument('--small', action='store_true')
arguments.add_argument('--tiny', action='store_true', help='similarity.py: the smallest shapes alone, where a tool has little memory')
arguments.add_argument('--checks', action='store_true', help='similarity.py: no times')
arguments.add_argument('--exact', action='store_true', help='similarity.py: times of float32 by products of float16')
arguments.add_argument('--times', action='store_true', help='similarity.py: no checks')
arguments.add_argument('--library', default='build-cuda/libgradcache_cuda.so')
arguments.add_argument('--published', metavar='FOLDER', help='recurrence.py: the published package, unpacked')
arguments = arguments.parse_args()
arguments.small |= arguments.tiny
if arguments.small:
    os.environ['PYTORCH_NO_CUDA_MEMORY_CACHING'] = '1'  # each tensor its own allocation: memcheck sees what lies outside

import torch

DEVICE = 'cuda'


class Key(ctypes.Structure):
    _fields_ = [('first', ctypes.c_uint32), ('second', ctypes.c_uint32), ('threshold', ctypes.c_uint32), ('scale', ctypes.c_float)]


library = ctypes.CDLL(os.path.abspath(arguments.library))
library.gradcache_cuda_error.argtypes, library.gradcache_cuda_error.restype = [ctypes.c_int], ctypes.c_char_p


def call(name, *values):
    code = getattr(library, f'gradcache_{name}')(*[v.data_ptr() if isinstance(v, torch.Tensor) else v for v in values])
    if code:
        raise RuntimeError(f'gradcache_{name}: {library.gradcache_cuda_error(code).decode()} ({code})')


# ---- dropout, as native/core/dropout_key.h has it
M32, M64 = (1 << 32) - 1, (1 << 64) - 1


def make_key(probability, seed, site=0):
    threshold = int(probability * 65536.0 + 0.5)
    if threshold == 0:
        return Key(0, 0, 0, 1.0)
    z = (seed * 0x9E3779B97F4A7C15 + (site + 1) * 0xD1B54A32D192ED03) & M64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M64
    z ^= z >> 31
    return Key(z & M32, z >> 32, threshold, 65536.0 / (65536.0 - threshold))


def mix(h):
    h = h ^ (h >> 16)
    h = (h * 0x85EBCA6B) & M32
    h = h ^ (h >> 13)
    h = (h * 0xC2B2AE35) & M32
    return h ^ (h >> 16)


def factor_at(key, rows, columns):
    """float64: 0 or the key's scale, for int64 rows and columns that broadcast."""
    bits = mix((mix((rows & M32) ^ key.first) + key.second + (columns >> 1) * 0x9E3779B9) & M32)
    bits = (bits >> ((columns & 1) * 16)) & 0xFFFF
    return (bits >= key.threshold).double() * key.scale


# ---- times
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
    return sorted(events[2 * k].elapsed_time(events[2 * k + 1]) for k in range(repetitions))[repetitions // 2]
