"""Other implementations of the cached step on a GPU, in blocks of steps, on request.

One JSON object a line on standard input; each line is answered with one on standard output:
  {"do": "hello"}                      versions and the device
  {"do": "burst", "seconds": S}        keeps the card busy with matrix products
  {"do": "warm", "shape": {..}, "dropout": P, "batches": [[rows, width, graph?], ..]}   compiles for these batches
  {"do": "block", "peer": NAME, "chunk": N, "compile": true | false, "shape": {..}, "dropout": P, "tokens": FILE,
   "warm": N, "steps": N, "dynamic": true | false}   answers the seconds of each timed step and the peak memory
  {"do": "make", "folder": PATH, "shape": {..}, "dropout": P, "dtype": NAME}   a model folder with random weights
A shape is a BERT's, or has the content of a config.json under "config". A block without padding may name such a "folder", the rank
of adapters as "lora", and as "warm_pairs" how many pairs the steps take that are not timed.
Peers: gradcache (luyug's, from the folder in GRAD_CACHE_SRC; it is not bundled), sentence-transformers
(CachedMultipleNegativesRankingLoss on padded sequences), sentence-transformers-unpadded (the same without padding, where
"chunk" counts tokens: see peers_unpadded.py), full (no cache at all). Every peer: BERT with random weights, bf16 autocast (a block
may ask for "precision": "float32" or "tf32" instead), dropout on hidden states and attention, mean pooling, scaled cosine InfoNCE
(scale 20), fused AdamW. What is compiled is compiled once and shared by all peers that ask for the same: for each width
(default) or for all (dynamic).
"""
import argparse
import gc
import json
import os
import sys
import tempfile
import time
import warnings

warnings.filterwarnings('ignore')
os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_VERBOSITY='error', TOKENIZERS_PARALLELISM='false')
answers = os.fdopen(os.dup(1), 'w', encoding='utf8')
os.dup2(2, 1)

arguments = argparse.ArgumentParser()
arguments.add_argument('--device', default='cuda')
DEVICE = arguments.parse_args().device

# transformers looks for flash attention once, when it is imported: see peers_unpadded.py.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'flash_attention'))

import numpy  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
import transformers  # noqa: E402
from torch import nn  # noqa: E402

SCALE = 20.0
CUDA = DEVICE.startswith('cuda')
KIND = 'cuda' if CUDA else 'cpu'
encoders, compiled = {}, {}
precision_in_use = 'bfloat16'
torch._dynamo.config.cache_size_limit = 64


def config_of(shape, dropout):
    if 'config' in shape:
        return transformers.AutoConfig.for_model(**shape['config'])
    return transformers.BertConfig(
        vocab_size=shape['vocabulary'], hidden_size=shape['hidden'], num_hidden_layers=shape['layers'],
        num_attention_heads=shape['heads'], intermediate_size=shape['intermediate'],
        max_position_embeddings=shape['positions'], hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)


class Encoder(nn.Module):
    def __init__(self, shape, dropout):
        super().__init__()
        self.model = transformers.BertModel._from_config(
            config_of(shape, dropout), attn_implementation='sdpa', add_pooling_layer=False)

    def forward(self, input_ids, attention_mask):
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return F.normalize(((hidden * mask).sum(1) / mask.sum(1)).float(), dim=-1)


def autocast():
    return torch.autocast(KIND, torch.bfloat16, enabled=precision_in_use == 'bfloat16')


def wait():
    if CUDA:
        torch.cuda.synchronize()


def encoder_of(shape, dropout, compile_, dynamic=False):
    key = json.dumps([shape, dropout], sort_keys=True)
    if key not in encoders:
        torch.manual_seed(0)
        encoders[key] = Encoder(shape, dropout).train()
    encoders[key].to(DEVICE)
    if not compile_:
        return encoders[key], encoders[key]
    if (key, dynamic) not in compiled:
        compiled[key, dynamic] = torch.compile(encoders[key], dynamic=dynamic)
    return encoders[key], compiled[key, dynamic]


def read(path):
    """Both towers, padded to the longest text of each."""
    raw = torch.from_numpy(numpy.fromfile(path, dtype='<i4').astype('int64')).to(DEVICE)
    rows = int(raw[0])
    offsets = [raw[1:rows + 2], raw[rows + 2:2 * rows + 3]]
    place, towers = 2 * rows + 3, []
    for ends in offsets:
        lengths = ends[1:] - ends[:-1]
        mask = torch.arange(int(lengths.max()), device=DEVICE)[None] < lengths[:, None]
        ids = torch.zeros(mask.shape, dtype=torch.int64, device=DEVICE)
        ids[mask] = raw[place:place + int(ends[-1])]
        place += int(ends[-1])
        towers.append({'input_ids': ids, 'attention_mask': mask.long()})
    return towers


def gradcache_loss(module, towers, chunk):
    sys.path.insert(0, os.environ['GRAD_CACHE_SRC'])
    from grad_cache import GradCache
    from grad_cache.loss import SimpleContrastiveLoss
    sys.path.pop(0)
    base = SimpleContrastiveLoss()

    class Cache(GradCache):
        def model_call(self, model, model_input):
            with autocast():
                return model(**model_input)

    cache = Cache(models=[module, module], chunk_sizes=chunk, loss_fn=lambda x, y: base(x * SCALE, y))
    return lambda warming: cache(*towers)


def sentence_transformers_loss(module, towers, chunk):
    try:
        from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
    except ImportError:
        from sentence_transformers.losses import CachedMultipleNegativesRankingLoss

    class Model(nn.Module):
        """As the loss sees a SentenceTransformer; the library's trainer wraps forward in autocast too."""

        def __init__(self):
            super().__init__()
            self.encoder = module

        def forward(self, features):
            with autocast():
                return {'sentence_embedding': self.encoder(
                    input_ids=features['input_ids'], attention_mask=features['attention_mask'])}

        def __getitem__(self, index):
            return self.encoder

        def __iter__(self):
            return iter([self.encoder])

    loss = CachedMultipleNegativesRankingLoss(Model(), scale=SCALE, mini_batch_size=chunk)

    def run(warming):
        value = loss([dict(tower) for tower in towers], None)
        value.backward()
        return value

    return run


def full_loss(module, towers, chunk):
    def run(warming):
        with autocast():
            a, b = module(**towers[0]), module(**towers[1])
        value = F.cross_entropy(a @ b.T * SCALE, torch.arange(len(a), device=DEVICE))
        value.backward()
        return value

    return run


LOSSES = {'gradcache': gradcache_loss, 'sentence-transformers': sentence_transformers_loss, 'full': full_loss}


def padded_peer(peer, chunk, compile, shape, dropout, tokens, dynamic):
    """The encoder, one forward and backward as a function, and what it counts."""
    towers = read(tokens)
    encoder, module = encoder_of(shape, dropout, compile, dynamic)
    counts = {
        'tokens': sum(int(tower['attention_mask'].sum()) for tower in towers),
        'padded': sum(tower['attention_mask'].numel() for tower in towers),
    }
    return encoder, LOSSES[peer](module, towers, chunk), counts


def unpadded_peer(chunk, compile, shape, dropout, tokens, folder=None, lora=None, warm_pairs=None):
    """As padded_peer, and the step over the first pairs alone."""
    import peers_unpadded
    key = json.dumps([shape, dropout, 'unpadded', compile, lora], sort_keys=True)
    if key not in encoders:
        if folder is not None:
            encoders.clear()  # large ones do not wait beside each other
            release()
            encoders[key] = peers_unpadded.open_encoder(folder, DEVICE, compile, lora)
        else:
            with tempfile.TemporaryDirectory() as own:
                make(own, shape, dropout)
                encoders[key] = peers_unpadded.open_encoder(own, DEVICE, compile)
    encoder = encoders[key].to(DEVICE)
    step = peers_unpadded.unpadded_loss(encoder, chunk, SCALE, autocast)
    whole = peers_unpadded.features(encoder, tokens, DEVICE)
    first = whole if warm_pairs is None else peers_unpadded.features(encoder, tokens, DEVICE, warm_pairs)
    count = sum(tower['input_ids'].numel() for tower in whole)
    return encoder, lambda warming=False: step(first if warming else whole), {'tokens': count, 'padded': count}


def make(folder, shape, dropout, dtype='float32'):
    """A model folder with random weights, for both sides."""
    import peers_unpadded
    start = time.perf_counter()
    peers_unpadded.make_folder(
        folder, config_of(shape, dropout), shape.get('config', {}), shape.get('pooling', 'mean'), DEVICE, getattr(torch, dtype))
    release()
    return {'seconds': time.perf_counter() - start}


def block(peer, chunk, compile, shape, dropout, tokens, warm, steps, dynamic=False, precision='bfloat16', **unpadded):
    global precision_in_use
    precision_in_use = precision
    torch.backends.cuda.matmul.allow_tf32 = precision == 'tf32'
    if peer == 'sentence-transformers-unpadded':
        encoder, loss, counts = unpadded_peer(chunk, compile, shape, dropout, tokens, **unpadded)
    else:
        encoder, loss, counts = padded_peer(peer, chunk, compile, shape, dropout, tokens, dynamic)
    # The peak is this peer's own: models that were compiled for others wait on the host.
    for other in encoders.values():
        other.to(DEVICE if other is encoder else 'cpu')
    release()
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-5, fused=True)
    seconds = []
    try:
        for step in range(warm + steps):
            if step == warm and CUDA:
                wait()
                torch.cuda.reset_peak_memory_stats()
            wait()
            start = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            value = loss(step < warm)
            optimizer.step()
            wait()
            if step >= warm:
                seconds.append(time.perf_counter() - start)
        return {
            'seconds': seconds, 'peak': torch.cuda.max_memory_allocated() if CUDA else 0, 'loss': float(value), **counts,
        }
    finally:
        del loss
        optimizer.zero_grad(set_to_none=True)
        del optimizer
        release()


def release():
    gc.collect()
    if CUDA:
        torch.cuda.empty_cache()


def warm(shape, dropout, batches, dynamic=False):
    """Compiles for batches of these rows and widths, with and without a graph, in the very modes that peers use."""
    encoder, module = encoder_of(shape, dropout, True, dynamic)
    start = time.perf_counter()
    for rows, width in batches:
        ids = torch.randint(1000, shape['vocabulary'], (rows, width), device=DEVICE)
        mask = torch.ones_like(ids)
        mask[0, width // 2:] = 0
        with torch.no_grad(), autocast():
            module(input_ids=ids, attention_mask=mask)
        with autocast():
            out = module(input_ids=ids, attention_mask=mask)
        out.sum().backward()
        encoder.zero_grad(set_to_none=True)
    wait()
    release()
    return {'seconds': time.perf_counter() - start}


def burst(seconds):
    """Products of random matrices; answers their rate, which says what the card gives today."""
    size = 8192 if CUDA else 256
    a, b = (torch.randn(size, size, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    wait()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for _ in range(50):
            a @ b
        wait()
        count += 50
    rate = count * 2 * size ** 3 / (time.perf_counter() - start) / 1e12
    del a, b
    release()
    return {'teraflops': rate}


def hello():
    import sentence_transformers
    return {
        'torch': torch.__version__, 'transformers': transformers.__version__,
        'sentenceTransformers': sentence_transformers.__version__, 'python': sys.version.split()[0],
        'device': torch.cuda.get_device_name() if CUDA else 'CPU', 'cuda': torch.version.cuda,
    }


for line in sys.stdin:
    request = json.loads(line)
    try:
        result = {'hello': hello, 'burst': burst, 'warm': warm, 'make': make, 'block': block}[request.pop('do')](**request)
    except torch.OutOfMemoryError as error:
        release()
        result = {'error': f'out of memory: {str(error)[:120]}'}
    except Exception as error:  # told to the asking side, which reports it in the job's row
        release()
        result = {'error': f'{type(error).__name__}: {str(error)[:400]}'}
    answers.write(json.dumps(result) + '\n')
    answers.flush()
