"""Models with a representation for each token: folders, representations, losses and gradients of
sentence-transformers' MultiVectorEncoder, over the whole batch at once and by its own cached loss."""
import torch
from safetensors.torch import save_file
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder import losses, scoring

import models
from reference import own_name


def save_multi_vector(name, folder, width=None, normalize=True, skipped=(), expansion=None, query_length=None,
                      document_length=None, prompts=None, similarity='maxsim'):
    """A MultiVectorEncoder around a random model, with a projection to `width`."""
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    source = models.save_transformer(name, folder + '.transformer', seed=6)
    transformer = Transformer(source, query_length=query_length, document_length=document_length,
                              query_expansion=expansion)
    modules = [transformer]
    if width is not None:
        torch.manual_seed(71)
        modules.append(Dense(transformer.get_embedding_dimension(), width, bias=False,
                             activation_function=torch.nn.Identity(), module_input_name='token_embeddings'))
    modules.append(MultiVectorMask(skiplist_words=list(skipped)))
    if normalize:
        modules.append(Normalize(module_input_name='token_embeddings'))
    MultiVectorEncoder(modules=modules, prompts=prompts or {}, similarity_fn_name=similarity).save(folder)
    return folder


def open_multi_vector(folder, dtype='float32'):
    model = MultiVectorEncoder(folder, device='cpu', model_kwargs={'dtype': torch.float32})
    return model.to(getattr(torch, dtype)).eval()


def embed_tokens(folder, texts, task):
    """The representations that each text has, and the similarities of the first text with all."""
    model = open_multi_vector(folder)
    encode = {'query': model.encode_query, 'document': model.encode_document}[task]
    with torch.no_grad():
        rows = encode(texts, batch_size=len(texts), show_progress_bar=False)
    return {'embeddings': [row.double().tolist() for row in rows], 'similarity': model.similarity_fn_name,
            'scores': model.similarity(rows[:1], rows).double()[0].tolist()}


SCORES = {
    'ranking': {'maxsim': scoring.colbert_scores, 'meanmaxsim': scoring.mean_colbert_scores},
    'kl': {'maxsim': scoring.colbert_kd_scores, 'meanmaxsim': scoring.mean_colbert_kd_scores},
    'margin': {'maxsim': scoring.colbert_scores_pairwise, 'meanmaxsim': scoring.mean_colbert_scores_pairwise},
}


def similarity_of(kind, similarity, top_k):
    if similarity != 'xtr':
        return SCORES[kind][similarity]
    if kind == 'margin':
        return lambda *args, **kwargs: scoring.xtr_scores_pairwise(*args, top_k=top_k, **kwargs)
    return (scoring.XTRKDScores if kind == 'kl' else scoring.XTRScores)(top_k=top_k)


def multi_vector_gradients(folder, columns, output, kind='ranking', similarity='maxsim', top_k=256, labels=None,
                           cached=False, mini_batch_size=3, **options):
    """Loss and the gradient of every parameter by the library's own loss, written to the safetensors file `output`."""
    model = open_multi_vector(folder)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    function = similarity_of(kind, similarity, top_k)
    if kind == 'ranking' and cached:
        loss = losses.CachedMultiVectorMultipleNegativesRankingLoss(
            model, similarity_fct=function, mini_batch_size=mini_batch_size, score_mini_batch_size=4, **options)
    else:
        classes = {'ranking': losses.MultiVectorMultipleNegativesRankingLoss,
                   'kl': losses.MultiVectorDistillKLDivLoss, 'margin': losses.MultiVectorMarginMSELoss}
        loss = classes[kind](model, similarity_fct=function, **options)
    features = []
    for place, texts in enumerate(columns):
        task = 'query' if place == 0 else 'document'
        features.append({**model.preprocess(texts, task=task), 'task': task})
    value = loss(features, None if labels is None else torch.tensor(labels))
    value.backward()
    named = [(own_name(model, name), parameter) for name, parameter in model.named_parameters()]
    grads = {name: p.grad.contiguous() for name, p in named if p.grad is not None}
    save_file(grads, output)
    return {'loss': value.item(), 'file': output, 'names': sorted(grads),
            'unused': sorted(name for name, p in named if p.grad is None), 'logScaleGradient': None}
