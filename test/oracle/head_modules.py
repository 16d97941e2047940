"""Models with every module that may stand behind a Transformer or a StaticEmbedding, saved by sentence-transformers."""
import json
import os

import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense, Dropout, LayerNorm, Normalize, Pooling, StaticEmbedding, Transformer,
)

import models


def static_embedding(width, seed):
    torch.manual_seed(seed)
    return StaticEmbedding(models.wordpiece(models.BRACKETS), embedding_dim=width)


def head(description, width, seed):
    """A module of a list such as ['dense', out features, activation, bias, residual], ['norm'], ['dropout', p], ['normalize']."""
    kind, *rest = description
    if kind == 'normalize':
        return Normalize(), width
    if kind == 'dropout':
        return Dropout(rest[0]), width
    if kind == 'norm':
        module, out = LayerNorm(width), width
    else:
        out, activation, bias, residual = rest
        torch.manual_seed(seed)
        module = Dense(width, out, bias=bias, activation_function=getattr(torch.nn, activation)(), use_residual=residual)
    models.disturb(module, seed)
    return module, out


def save_with_modules(folder, base, modules=(), pooling='mean', include_prompt=True, prompts=None, default_prompt=None,
                      settings=None, width=14, weights='safetensors'):
    """`base` is 'static', or a name of models.ARCHITECTURES; `settings` go to sentence_bert_config.json."""
    if base == 'static':
        list_ = [static_embedding(width, 4)]
    else:
        source = models.save_transformer(base, folder + '.transformer', seed=5)
        width = models.AutoModel.from_pretrained(source).config.hidden_size
        pool = Pooling(width, pooling_mode=tuple(pooling) if isinstance(pooling, list) else pooling, include_prompt=include_prompt)
        list_ = [Transformer(source), pool]
        width = pool.pooling_output_dimension
    for number, description in enumerate(modules):
        module, width = head(description, width, 20 + number)
        list_.append(module)
    model = SentenceTransformer(modules=list_, prompts=prompts or {}, default_prompt_name=default_prompt)
    model.save(folder, safe_serialization=weights == 'safetensors')
    if settings:
        path = os.path.join(folder, 'sentence_bert_config.json')
        with open(path, encoding='utf8') as file:
            content = json.load(file)
        with open(path, 'w', encoding='utf8') as file:
            json.dump({**content, **settings}, file)
    return folder


def save_model2vec(folder, normalize=True, quantized=False, modules=True):
    """As Model2Vec saves: `quantized` has fewer rows than tokens, a mapping and a weight for each token."""
    os.makedirs(folder, exist_ok=True)
    tokenizer = models.wordpiece(models.BRACKETS)
    tokens, width = tokenizer.get_vocab_size(), 10
    generator = torch.Generator().manual_seed(6)
    rows = tokens // 2 if quantized else tokens
    tensors = {'embeddings': torch.randn(rows, width, generator=generator)}
    if quantized:
        tensors['embeddings'] = tensors['embeddings'].mul(40).clamp(-127, 127).to(torch.int8)
        tensors['mapping'] = torch.randint(rows, (tokens,), generator=generator)
        tensors['weights'] = torch.rand(tokens, generator=generator)
    save_file(tensors, os.path.join(folder, 'model.safetensors'))
    tokenizer.save(os.path.join(folder, 'tokenizer.json'))
    config = {'model_type': 'model2vec', 'architectures': ['StaticModel'], 'tokenizer_name': 'small', 'apply_pca': width,
              'hidden_dim': width, 'seq_length': 1000000, 'normalize': normalize, 'embedding_dtype': 'int8' if quantized else 'float32'}
    if quantized:
        config['vocabulary_quantization'] = rows
    with open(os.path.join(folder, 'config.json'), 'w', encoding='utf8') as file:
        json.dump(config, file)
    if modules:
        list_ = [{'idx': 0, 'name': '0', 'path': '.', 'type': 'sentence_transformers.models.StaticEmbedding'}]
        if normalize:
            list_.append({'idx': 1, 'name': '1', 'path': '1_Normalize', 'type': 'sentence_transformers.models.Normalize'})
        with open(os.path.join(folder, 'modules.json'), 'w', encoding='utf8') as file:
            json.dump(list_, file)
    return folder


def encode(folder, texts, task=None, prompt_name=None, dtype='float64'):
    """Rows of `encode`, `encode_query` or `encode_document`."""
    from reference import open_model

    model = open_model(folder, dtype)
    run = {None: model.encode, 'query': model.encode_query, 'document': model.encode_document}[task]
    with torch.no_grad():
        rows = run(texts, prompt_name=prompt_name, convert_to_tensor=True, batch_size=len(texts), show_progress_bar=False)
    return rows.double().tolist()


def pickle_weights(folder, legacy=False):
    """Puts pytorch_model.bin in the place of every model.safetensors, with parameters as an ordered dict has them; `legacy`: as
    PyTorch before 1.6 wrote it."""
    from collections import OrderedDict
    from pathlib import Path
    from safetensors.torch import load_file

    for path in Path(folder).rglob('model.safetensors'):
        tensors = OrderedDict(load_file(path))
        for name, tensor in list(tensors.items())[::3]:
            # A view that is not dense, as tied and transposed weights are.
            tensors[name] = torch.nn.Parameter(tensor.T.contiguous().T if tensor.dim() == 2 else tensor.clone(), requires_grad=False)
        tensors._metadata = OrderedDict({'': {'version': 1}})
        torch.save(tensors, path.with_name('pytorch_model.bin'), _use_new_zipfile_serialization=not legacy)
        path.unlink()
    return folder


def save_router(folder, legacy=False):
    """Word vectors for queries and a Transformer for documents, then what both have; `legacy`: in config.json, as an Asym."""
    from pathlib import Path
    from sentence_transformers.base.modules import Router

    source = models.save_transformer('distilbert', folder + '.transformer', seed=5)
    width = models.AutoModel.from_pretrained(source).config.hidden_size
    router = Router.for_query_document(
        query_modules=[static_embedding(14, 4), head(['dense', width, 'Tanh', True, False], 14, 3)[0]],
        document_modules=[Transformer(source), Pooling(width, 'mean')])
    tail = [head(['norm'], width, 8)[0], Normalize()]
    SentenceTransformer(modules=[router, *tail], prompts={'query': 'query: ', 'document': 'text: '}).save(folder)
    if legacy:
        Path(folder, 'router_config.json').rename(Path(folder, 'config.json'))
        path = Path(folder, 'modules.json')
        path.write_text(path.read_text().replace('router.Router', 'router.Asym'))
    return folder
