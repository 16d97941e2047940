"""sentence-transformers over several GPUs: CachedMultipleNegativesRankingLoss with gather_across_devices under torchrun. For `npm run
bench -- ranks --rivals`, which starts it as

  torchrun --nproc-per-node N bench/peers_ranks.py --tokens FILE --shape JSON --chunk TEXTS --steps N [--device cpu]

The encoder, precision and optimizer are those of peers_gpu.py; DistributedDataParallel is put around the model as the library's
trainer does. Each rank takes an equal part of the batch, padded to its longest text. Rank 0 prints a line of JSON.
"""
import argparse
import json
import os
import sys
import time
import warnings

warnings.filterwarnings('ignore')
os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_VERBOSITY='error', TOKENIZERS_PARALLELISM='false')

import numpy  # noqa: E402
import torch  # noqa: E402
import torch.distributed as distributed  # noqa: E402
import torch.nn.functional as F  # noqa: E402
import transformers  # noqa: E402
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402

arguments = argparse.ArgumentParser()
arguments.add_argument('--tokens', required=True)
arguments.add_argument('--shape', required=True, type=json.loads)
arguments.add_argument('--chunk', type=int, default=256)
arguments.add_argument('--steps', type=int, default=4)
arguments.add_argument('--dropout', type=float, default=0.1)
arguments.add_argument('--device', default='cuda')
given = arguments.parse_args()
CUDA = given.device == 'cuda'
DEVICE = f"cuda:{os.environ['LOCAL_RANK']}" if CUDA else 'cpu'


class Model(nn.Module):
    """As the loss sees a SentenceTransformer."""

    def __init__(self, shape):
        super().__init__()
        config = transformers.BertConfig(
            vocab_size=shape['vocabulary'], hidden_size=shape['hidden'], num_hidden_layers=shape['layers'],
            num_attention_heads=shape['heads'], intermediate_size=shape['intermediate'],
            max_position_embeddings=shape['positions'], hidden_dropout_prob=given.dropout,
            attention_probs_dropout_prob=given.dropout)
        self.model = transformers.BertModel._from_config(config, attn_implementation='sdpa', add_pooling_layer=False)

    def forward(self, features):
        mask = features['attention_mask']
        with torch.autocast(DEVICE.split(':')[0], torch.bfloat16):
            hidden = self.model(input_ids=features['input_ids'], attention_mask=mask).last_hidden_state
        mask = mask.unsqueeze(-1).to(hidden.dtype)
        return {'sentence_embedding': F.normalize(((hidden * mask).sum(1) / mask.sum(1)).float(), dim=-1)}


def read(path, rank, size):
    """This rank's part of both towers."""
    raw = torch.from_numpy(numpy.fromfile(path, dtype='<i4').astype('int64'))
    rows = int(raw[0])
    place, towers = 2 * rows + 3, []
    for ends in (raw[1:rows + 2], raw[rows + 2:2 * rows + 3]):
        own = ends[rows * rank // size:rows * (rank + 1) // size + 1]
        lengths = own[1:] - own[:-1]
        mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        ids = torch.zeros(mask.shape, dtype=torch.int64)
        ids[mask] = raw[place + int(own[0]):place + int(own[-1])]
        place += int(ends[-1])
        towers.append({'input_ids': ids.to(DEVICE), 'attention_mask': mask.long().to(DEVICE)})
    return towers


if CUDA:
    torch.cuda.set_device(DEVICE)
distributed.init_process_group('nccl' if CUDA else 'gloo')
rank, size = distributed.get_rank(), distributed.get_world_size()
torch.manual_seed(0)
model = Model(given.shape).train().to(DEVICE)
loss = CachedMultipleNegativesRankingLoss(model, scale=20.0, mini_batch_size=given.chunk, gather_across_devices=True)
loss.model = DistributedDataParallel(model)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)
towers = read(given.tokens, rank, size)
seconds = []
for step in range(given.steps + 2):
    if CUDA:
        torch.cuda.synchronize()
    distributed.barrier()
    start = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    value = loss([dict(tower) for tower in towers], None)
    value.backward()
    optimizer.step()
    if CUDA:
        torch.cuda.synchronize()
    distributed.barrier()
    if step >= 2:
        seconds.append(time.perf_counter() - start)
if rank == 0:
    import sentence_transformers
    print(json.dumps({
        'seconds': sorted(seconds)[len(seconds) // 2], 'loss': float(value),
        'peak': torch.cuda.max_memory_allocated() if CUDA else 0,
        'versions': f'sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__}',
    }))
    sys.stdout.flush()
distributed.destroy_process_group()
