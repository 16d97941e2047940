"""SRU's recurrence as a loop over time in PyTorch, and torch.nn.LSTM, on the CPU in float32.

One JSON object a line on standard input; each line is answered with one on standard output:
  {"do": "open", "batch": B, "length": L, "width": D}   makes the inputs; answers versions and threads
  {"do": "loop" | "lstm"}                                one forward and one backward; answers the seconds of each
"""
import json
import sys
import time

import torch

state = {}


def open_shapes(batch, length, width):
    normal = lambda *shape: torch.randn(*shape).requires_grad_()
    state.update(
        u=normal(length, batch, 3 * width), x=normal(length, batch, width), weights=normal(2, width), bias=normal(2, width),
        start=torch.zeros(batch, width), lstm=torch.nn.LSTM(width, width))
    return {'torch': torch.__version__, 'threads': torch.get_num_threads(), 'python': sys.version.split()[0]}


def loop():
    weights, bias, c = state['weights'], state['bias'], state['start']
    outputs = []
    for u, x in zip(state['u'].unbind(0), state['x'].unbind(0)):
        candidate, forget, reset = u.chunk(3, 1)
        f = torch.sigmoid(torch.addcmul(forget + bias[0], weights[0], c))
        r = torch.sigmoid(torch.addcmul(reset + bias[1], weights[1], c))
        c = torch.lerp(candidate, c, f)
        outputs.append(torch.lerp(x, c, r))
    return torch.stack(outputs)


def timed(forward):
    begin = time.perf_counter()
    output = forward()
    middle = time.perf_counter()
    output.backward(torch.ones_like(output))
    return {'forward': middle - begin, 'backward': time.perf_counter() - middle}


for line in sys.stdin:
    request = json.loads(line)
    what = request.pop('do')
    if what == 'open':
        answer = open_shapes(**request)
    else:
        answer = timed(loop if what == 'loop' else lambda: state['lstm'](state['x'])[0])
    print(json.dumps(answer), flush=True)
