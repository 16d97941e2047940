"""sentence-transformers' encode() beside ours, on request: one JSON object a line on standard input, each answered with one.

  {"do": "make", "folder": PATH, "tiny": bool}             a BERT-base with random weights in bfloat16; its tokenizer is there
  {"do": "open", "folder": PATH, "compile": bool, "texts": FILE}   unpadded on a GPU, in bfloat16; on a CPU in float32
  {"do": "encode", "batch": N, "first": N}                 the seconds that the first texts take, and the first vectors
"""
import argparse
import json
import os
import sys
import time
import warnings

warnings.filterwarnings('ignore')
os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_VERBOSITY='error', TOKENIZERS_PARALLELISM='true')
answers = os.fdopen(os.dup(1), 'w', encoding='utf8')
os.dup2(2, 1)

arguments = argparse.ArgumentParser()
arguments.add_argument('--device', default='cuda')
DEVICE = arguments.parse_args().device
CUDA = DEVICE.startswith('cuda')
if CUDA:  # see peers_unpadded.py
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'flash_attention'))

import sentence_transformers  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402

state = {}
torch._dynamo.config.cache_size_limit = 64


def make(folder, tiny):
    sizes = {'hidden_size': 64, 'num_hidden_layers': 2, 'num_attention_heads': 2, 'intermediate_size': 128} if tiny else {}
    torch.manual_seed(0)
    with torch.device(DEVICE):
        model = transformers.AutoModel.from_config(transformers.BertConfig(**sizes), dtype=torch.bfloat16)
    model.pooler = None
    model.save_pretrained(folder)
    return {'made': True}


def open_model(folder, compile, texts):
    if 'texts' not in state:
        with open(texts, encoding='utf8') as file:
            state['texts'] = file.read().split('\n')
    how = {'attn_implementation': 'flash_attention_2', 'dtype': torch.bfloat16} if CUDA else {'dtype': torch.float32}
    model = SentenceTransformer(folder, device=DEVICE, model_kwargs=how)
    if CUDA and not model[0].can_flatten_inputs:
        raise RuntimeError('this sentence-transformers does not run unpadded here')
    if compile:
        for layer in model[0].model.encoder.layer:
            for part in layer.modules():
                if hasattr(part, 'layer_idx'):
                    part.layer_idx = 0
            layer.compile(dynamic=True)
    state['model'] = model
    return {
        'torch': torch.__version__, 'transformers': transformers.__version__, 'threads': torch.get_num_threads(),
        'sentenceTransformers': sentence_transformers.__version__, 'python': sys.version.split()[0],
    }


def encode(batch, first):
    model, texts = state['model'], state['texts'][:first]
    start, processor = time.perf_counter(), time.process_time()
    vectors = model.encode(texts, batch_size=batch, convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=False)
    if CUDA:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    processor = time.process_time() - processor
    return {'seconds': seconds, 'processor': processor, 'vectors': vectors[:8].float().cpu().tolist()}


for line in sys.stdin:
    request = json.loads(line)
    try:
        result = {'make': make, 'open': open_model, 'encode': encode}[request.pop('do')](**request)
    except Exception as error:  # told to the asking side, which reports it in the row
        result = {'error': f'{type(error).__name__}: {str(error)[:400]}'}
    answers.write(json.dumps(result) + '\n')
    answers.flush()
