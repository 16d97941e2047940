"""Losses of other implementations on random representations, one call at a time, on request.

One JSON object a line on standard input; each line is answered with one on standard output:
  {"do": "make", "pairs": N, "dimension": D}                         representations; answers versions
  {"do": "step", "peer": NAME, "rows": R, "directions": [..]}       loss and gradients; answers seconds and the loss
Peers: sentence-transformers (CachedMultipleNegativesRankingLoss.calculate_loss, R anchors at a time), products (nothing
but the three products that a loss over all pairs needs at least, R anchors at a time).
"""
import json
import os
import sys
import time
import warnings

warnings.filterwarnings('ignore')
os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_VERBOSITY='error')
answers = os.fdopen(os.dup(1), 'w', encoding='utf8')
os.dup2(2, 1)

import torch  # noqa: E402
import sentence_transformers  # noqa: E402
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss  # noqa: E402

state = {}


def make(pairs, dimension):
    torch.manual_seed(0)
    state['rows'] = [torch.randn(pairs, dimension).requires_grad_() for _ in range(2)]
    return {'threads': torch.get_num_threads(), 'torch': torch.__version__,
            'sentenceTransformers': sentence_transformers.__version__, 'python': sys.version.split()[0]}


def their_loss(rows, directions):
    mode = 'joint' if len(directions) == 1 else 'per_direction'
    loss = CachedMultipleNegativesRankingLoss(
        torch.nn.Sequential(torch.nn.Identity()), mini_batch_size=rows, directions=tuple(directions), partition_mode=mode)
    return loss.calculate_loss([[each] for each in state['rows']], with_backward=True).item()


@torch.no_grad()
def products(rows):
    anchors, candidates = (each.detach() for each in state['rows'])
    of_anchors, of_candidates = torch.empty_like(anchors), torch.zeros_like(candidates)
    for begin in range(0, len(anchors), rows):
        part = anchors[begin:begin + rows]
        scores = part @ candidates.t()
        torch.mm(scores, candidates, out=of_anchors[begin:begin + rows])
        of_candidates.addmm_(scores.t(), part)
    return 0


def step(peer, rows, directions=('query_to_doc',)):
    for each in state['rows']:
        each.grad = None
    start = time.perf_counter()
    loss = products(rows) if peer == 'products' else their_loss(rows, directions)
    return {'seconds': time.perf_counter() - start, 'loss': loss}


if __name__ == '__main__':
    for line in sys.stdin:
        request = json.loads(line)
        try:
            result = {'make': make, 'step': step}[request.pop('do')](**request)
        except Exception as error:  # told to the asking side, which stops the bench
            result = {'error': f'{type(error).__name__}: {error}'}
        answers.write(json.dumps(result) + '\n')
        answers.flush()
