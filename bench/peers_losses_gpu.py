"""Losses of other implementations on a GPU, on random representations, one call at a time, on request.

One JSON object a line on standard input; each line is answered with one on standard output:
  {"do": "hello"}                                                        versions, and which peers are there
  {"do": "step", "peer": NAME, "pairs": N, "dimension": D, "both": true | false, "rows": R, "precision": "bfloat16" |
   "float32", "times": T}    the seconds of the best of T calls after a first one, and the most memory beyond representations
                             and gradients
Peers: sentence-transformers (CachedMultipleNegativesRankingLoss.calculate_loss, R anchors at a time, under autocast where
the precision is bfloat16), torch (all scores at once, float32 products), inf-cl (cal_flash_loss of the package inf_cl,
whose folder INF_CL names; float32 rows, products in tf32). All with the cosine at scale 20.
"""
import contextlib
import gc
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
import torch.nn.functional as F  # noqa: E402

SCALE = 20.0
peers = {}


def sentence_transformers(rows, both, mini_batch):
    from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
    directions = ('query_to_doc', 'doc_to_query') if both else ('query_to_doc',)
    loss = CachedMultipleNegativesRankingLoss(
        torch.nn.Sequential(torch.nn.Identity()), scale=SCALE, mini_batch_size=mini_batch, directions=directions,
        partition_mode='per_direction' if both else 'joint')
    loss.calculate_loss([[each] for each in rows], with_backward=True)


def plain(rows, both, _):
    x, y = (F.normalize(each, dim=1) for each in rows)
    scores = x @ y.t() * SCALE
    labels = torch.arange(len(x), device='cuda')
    loss = F.cross_entropy(scores, labels)
    if both:
        loss = (loss + F.cross_entropy(scores.t(), labels)) / 2
    loss.backward()


def inf_cl(rows, both, _):
    from inf_cl.flash import cal_flash_loss
    x, y = (F.normalize(each, dim=1) for each in rows)
    loss = cal_flash_loss(x, y, scale=SCALE).mean()
    if both:
        loss = (loss + cal_flash_loss(y, x, scale=SCALE).mean()) / 2
    loss.backward()


def hello():
    versions = {'torch': torch.__version__}
    if os.environ.get('INF_CL'):
        sys.path.insert(0, os.environ['INF_CL'])
    for name, module, run in (('torch', 'torch', plain), ('sentence-transformers', 'sentence_transformers', sentence_transformers),
                              ('inf-cl', 'inf_cl', inf_cl)):
        try:
            versions[name] = getattr(__import__(module), '__version__', 'there')
            peers[name] = run
        except Exception as error:
            versions[name] = None
            print(f'{name} is left out: {type(error).__name__}: {error}', file=sys.stderr)
    return {'versions': versions, 'peers': list(peers)}


def step(peer, pairs, dimension, both, rows, precision, times):
    torch.manual_seed(0)
    anchors = torch.randn(pairs, dimension, device='cuda')
    towers = [anchors, anchors + 2 * torch.randn(pairs, dimension, device='cuda')]
    towers = [each.requires_grad_() for each in towers]
    best = float('inf')
    gc.collect()
    torch.cuda.empty_cache()
    for k in range(times + 1):
        for each in towers:
            each.grad = None
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast('cuda', torch.bfloat16) if precision == 'bfloat16' else contextlib.nullcontext():
            peers[peer](towers, both, rows)
        torch.cuda.synchronize()
        if k > 0 or times == 0:
            best = min(best, time.perf_counter() - start)
    beyond = torch.cuda.max_memory_allocated() - before - 2 * pairs * dimension * 4
    del towers, anchors
    torch.cuda.empty_cache()
    return {'seconds': best, 'beyond': beyond}


if __name__ == '__main__':
    for line in sys.stdin:
        request = json.loads(line)
        try:
            result = {'hello': hello, 'step': step}[request.pop('do')](**request)
        except Exception as error:  # told to the asking side, which leaves the row out
            torch.cuda.empty_cache()
            result = {'error': f'{type(error).__name__}: {error}'[:300]}
        answers.write(json.dumps(result) + '\n')
        answers.flush()
