"""Other implementations of the cached step, one step at a time, on request.

One JSON object a line on standard input; each line is answered with one on standard output:
  {"do": "save", "folder": F, "tokenizer": T}            writes the random-weight MiniLM-L6 shape that everybody trains
  {"do": "load", "folder": F, "columns": [[texts], ..]}  loads it and tokenizes; answers real and padded token counts
  {"do": "step", "peer": NAME, "sequences": N | null, "tokens": N | null}  one training step; answers seconds and loss
Peers: sentence-transformers (CachedMultipleNegativesRankingLoss), sentence-transformers-sorted (the same fed in order
of length, which it does not do by itself), GradCache (luyug's, from the folder in GRAD_CACHE_SRC; it is not bundled).
Every peer: float32, dropout 0.1 on hidden states and attention, scaled cosine InfoNCE (scale 20), fused AdamW.
"""
import json
import os
import shutil
import sys
import time
import warnings

warnings.filterwarnings('ignore')
os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_VERBOSITY='error', TOKENIZERS_PARALLELISM='false')
answers = os.fdopen(os.dup(1), 'w', encoding='utf8')
os.dup2(2, 1)

import torch  # noqa: E402
import transformers  # noqa: E402
import sentence_transformers  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss  # noqa: E402

SCALE = 20.0
state = {}


def save(folder, tokenizer):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    for name in ('tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'vocab.txt'):
        shutil.copy(os.path.join(tokenizer, name), folder)
    return {}


def load(folder, columns, max_length=128):
    model = SentenceTransformer(folder, device='cpu')
    model.max_seq_length = max_length
    model.append(sentence_transformers.sentence_transformer.modules.Normalize())
    model.train()
    features = [dict(model.preprocess(texts)) for texts in columns]
    order = [f['attention_mask'].sum(1).argsort() for f in features]
    sort = lambda f, o: {k: v[o] if torch.is_tensor(v) and v.dim() and len(v) == len(o) else v for k, v in f.items()}  # noqa: E731
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)
    state.update(model=model, features=features, optimizer=optimizer,
                 ordered=[sort(f, o) for f, o in zip(features, order)])
    return {
        'tokens': sum(int(f['attention_mask'].sum()) for f in features),
        'padded': sum(f['attention_mask'].numel() for f in features),
        'threads': torch.get_num_threads(), 'torch': torch.__version__, 'transformers': transformers.__version__,
        'sentenceTransformers': sentence_transformers.__version__, 'python': sys.version.split()[0],
    }


def cached_loss(features, sequences, tokens):
    # With a token budget the size counts for the loss's own row blocks alone.
    loss = CachedMultipleNegativesRankingLoss(
        state['model'], scale=SCALE, mini_batch_size=sequences or 32, mini_batch_num_tokens=tokens)
    value = loss([dict(f) for f in features], None)
    value.backward()
    return value.item()


def luyug(features, sequences):
    sys.path.insert(0, os.environ['GRAD_CACHE_SRC'])
    from grad_cache import GradCache
    from grad_cache.loss import SimpleContrastiveLoss

    model, base = state['model'], SimpleContrastiveLoss()
    call = lambda model, f: model(dict(f))['sentence_embedding']  # noqa: E731

    class Cache(GradCache):
        def model_call(self, model, model_input):
            return call(model, model_input)

    keep = [{k: f[k] for k in ('input_ids', 'attention_mask', 'token_type_ids')} for f in features]
    cache = Cache(models=[model, model], chunk_sizes=sequences, loss_fn=lambda x, y: base(x * SCALE, y))
    return cache(*keep).item()


def step(peer, sequences=None, tokens=None):
    start = time.perf_counter()
    state['optimizer'].zero_grad()
    if peer == 'sentence-transformers':
        loss = cached_loss(state['features'], sequences, tokens)
    elif peer == 'sentence-transformers-sorted':
        loss = cached_loss(state['ordered'], sequences, tokens)
    elif peer == 'GradCache':
        loss = luyug(state['features'], sequences)
    else:
        raise ValueError(f'unknown peer {peer}')
    state['optimizer'].step()
    return {'seconds': time.perf_counter() - start, 'loss': loss}


if __name__ == '__main__':
    for line in sys.stdin:
        request = json.loads(line)
        try:
            result = {'save': save, 'load': load, 'step': step}[request.pop('do')](**request)
        except Exception as error:  # told to the asking side, which stops the bench
            result = {'error': f'{type(error).__name__}: {error}'}
        answers.write(json.dumps(result) + '\n')
        answers.flush()
