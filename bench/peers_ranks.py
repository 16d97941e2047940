"""sentence-transformers over several GPUs: CachedMultipleNegativesRankingLoss with gather_across_devices under torchrun, unpadded, as
peers_unpadded.py has it. For `npm run bench -- ranks --rivals`, which starts it as

  torchrun --nproc-per-node N bench/peers_ranks.py --tokens FILE --shape JSON --chunk TOKENS --steps N [--compile] [--device cpu]

DistributedDataParallel is put around the model as the library's trainer does. Each rank takes an equal part of the batch. Rank 0
prints a line of JSON.
"""
import argparse
import json
import os
import sys
import tempfile
import time
import warnings

warnings.filterwarnings('ignore')
os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_VERBOSITY='error', TOKENIZERS_PARALLELISM='false')
# transformers looks for flash attention once, when it is imported: see peers_unpadded.py.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'flash_attention'))

import torch  # noqa: E402
import torch.distributed as distributed  # noqa: E402
import transformers  # noqa: E402
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402

import peers_unpadded  # noqa: E402

arguments = argparse.ArgumentParser()
arguments.add_argument('--tokens', required=True)
arguments.add_argument('--shape', required=True, type=json.loads)
arguments.add_argument('--chunk', type=int, default=131_072)
arguments.add_argument('--steps', type=int, default=4)
arguments.add_argument('--dropout', type=float, default=0.1)
arguments.add_argument('--device', default='cuda')
arguments.add_argument('--compile', action='store_true')
given = arguments.parse_args()
CUDA = given.device == 'cuda'
DEVICE = f"cuda:{os.environ['LOCAL_RANK']}" if CUDA else 'cpu'


def make_model(shape):
    config = transformers.BertConfig(
        vocab_size=shape['vocabulary'], hidden_size=shape['hidden'], num_hidden_layers=shape['layers'],
        num_attention_heads=shape['heads'], intermediate_size=shape['intermediate'],
        max_position_embeddings=shape['positions'], hidden_dropout_prob=given.dropout,
        attention_probs_dropout_prob=given.dropout)
    with tempfile.TemporaryDirectory() as folder:
        peers_unpadded.make_folder(folder, config, {}, 'mean', DEVICE, torch.float32)
        model = peers_unpadded.open_encoder(folder, DEVICE, given.compile)
    model[0].model.pooler = None  # nothing takes its output, and DistributedDataParallel waits for every gradient
    forward = type(model).forward

    def forward_in_autocast(*arguments, **keywords):
        with torch.autocast(DEVICE.split(':')[0], torch.bfloat16):
            return forward(model, *arguments, **keywords)

    model.forward = forward_in_autocast
    return model


if CUDA:
    torch.cuda.set_device(DEVICE)
model = make_model(given.shape)  # before there is a group: of one, transformers saves on rank 0 alone
distributed.init_process_group('nccl' if CUDA else 'gloo')
rank, size = distributed.get_rank(), distributed.get_world_size()
loss = CachedMultipleNegativesRankingLoss(
    model, scale=20.0, mini_batch_size=peers_unpadded.SCORE_ROWS, mini_batch_num_tokens=given.chunk, gather_across_devices=True)
loss.model = DistributedDataParallel(model)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)
towers = peers_unpadded.features(model, given.tokens, DEVICE, part=(rank, size))
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
