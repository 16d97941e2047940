"""Keeps float64 where transformers casts to float32 (norms, rotations, some softmaxes): a model in float64 is then a
reference for all digits. Tensors of other types are cast as ever."""
import functools

import torch
import torch.nn.functional as F

_float, _to, _softmax = torch.Tensor.float, torch.Tensor.to, F.softmax


def _narrows(tensor, dtype):
    return tensor.dtype is torch.float64 and dtype is torch.float32


def _wide_float(self, *arguments, **named):
    return self if self.dtype is torch.float64 else _float(self, *arguments, **named)


def _wide_to(self, *arguments, **named):
    if any(_narrows(self, each) for each in (*arguments, named.get('dtype'))):
        return self
    return _to(self, *arguments, **named)


def _wide_softmax(tensor, *arguments, **named):
    if _narrows(tensor, named.get('dtype')):
        named = {**named, 'dtype': None}
    return _softmax(tensor, *arguments, **named)


def wide(method):
    """The method with float64 kept. Losses of the libraries are computed without: they mean their casts."""
    @functools.wraps(method)
    def kept(*arguments, **named):
        torch.Tensor.float, torch.Tensor.to, F.softmax = _wide_float, _wide_to, _wide_softmax
        try:
            return method(*arguments, **named)
        finally:
            torch.Tensor.float, torch.Tensor.to, F.softmax = _float, _to, _softmax
    return kept
