"""SPLADE models and losses by sentence-transformers' SparseEncoder itself."""
import torch
from safetensors.torch import save_file
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sparse_encoder import losses
from sentence_transformers.sparse_encoder.modules import MLMTransformer, SpladePooling
from transformers import AutoModelForMaskedLM

import models


def save_language_model(name, folder, seed=11, config=None):
    """A transformers folder of a masked language model of one of models.ARCHITECTURES or TODAYS; `config` changes its configuration."""
    described, tokenizer, specials, longest = models.described(name, **(config or {}))
    torch.manual_seed(seed)
    model = AutoModelForMaskedLM.from_config(described)
    models.disturb(model, seed)
    model.save_pretrained(folder)
    models.save_tokenizer(tokenizer, specials, longest, folder)
    return folder


def save_sparse_encoder(name, folder, strategy='max', activation='relu', legacy=False, prompts=None):
    """The same model as a folder of SparseEncoder. `legacy`: with the module that releases before 5.4 saved."""
    source = save_language_model(name, folder + '.transformer')
    transformer = MLMTransformer(source) if legacy else Transformer(source, transformer_task='fill-mask')
    pooling = SpladePooling(pooling_strategy=strategy, activation_function=activation)
    SparseEncoder(modules=[transformer, pooling], prompts=prompts or {}, device='cpu').save(folder)
    return folder


def open_sparse(folder, dtype='float32'):
    model = SparseEncoder(folder, device='cpu', model_kwargs={'dtype': torch.float32})
    return model.to(getattr(torch, dtype)).eval()


def embed_sparse(folder, texts, dtype='float32'):
    model = open_sparse(folder, dtype)
    rows = model.encode(texts, convert_to_sparse_tensor=False, convert_to_tensor=True, batch_size=len(texts), show_progress_bar=False)
    return {'embeddings': rows.double().tolist(), 'similarity': model.similarity_fn_name, 'dimension': rows.shape[1],
            'modules': [type(module).__name__ for module in model]}


BASES = {
    'ranking': lambda model, options: losses.SparseMultipleNegativesRankingLoss(model, **options),
    'marginMSE': lambda model, options: losses.SparseMarginMSELoss(model, **options),
    'distillKLDiv': lambda model, options: losses.SparseDistillKLDivLoss(model, **options),
}


def splade_gradients(folder, columns, output, base, options=None, base_options=None, labels=None, dtype='float64', batch=3):
    """Loss and gradients of every parameter by CachedSpladeLoss, without dropout."""
    model = open_sparse(folder, dtype)
    model[1].train()  # else it overwrites what its backward needs
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    loss = losses.CachedSpladeLoss(model, BASES[base](model, base_options or {}), mini_batch_size=batch, **options)
    features = [model.preprocess(texts) for texts in columns]
    label = None if labels is None else torch.tensor(labels, dtype=getattr(torch, dtype))
    parts = loss(features, label)
    total = sum(parts.values())
    total.backward()
    prefix = model[0].model.base_model_prefix + '.'
    words = model[0].model.get_input_embeddings().weight  # may be listed under its name in the head
    encoder = getattr(model[0].model, model[0].model.base_model_prefix)
    table = next(name for name, p in encoder.named_parameters() if p is words)
    named = {table if p is words else
             name.split('.', 1)[1].removeprefix('model.').removeprefix(prefix): p for name, p in model.named_parameters()}
    save_file({name: p.grad.contiguous().clone() for name, p in named.items() if p.grad is not None}, output)
    return {'loss': total.item(), 'file': output, 'names': sorted(name for name, p in named.items() if p.grad is not None),
            'unused': sorted(name for name, p in named.items() if p.grad is None), 'logScaleGradient': None}
