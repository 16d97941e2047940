"""Embeddings, losses and gradients by PyTorch's own autograd over the whole batch at once: nothing is cut into
chunks, cached or recomputed here."""
import json
import os
import tempfile
from copy import deepcopy

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer


def model_type(folder):
    """None: config.json is not there, or is another program's."""
    file = os.path.join(folder, 'config.json')
    if not os.path.exists(file):
        return None
    with open(file, encoding='utf8') as opened:
        return json.load(opened).get('model_type')


def open_model(folder, dtype='float32', device='cpu'):
    # Half-precision checkpoints are opened in float32 first: the same values, exactly.
    # Only transformers' own attention caps scores.
    chosen = {'attn_implementation': 'eager'} if model_type(folder) == 'gemma2' else {}
    model = SentenceTransformer(folder, device=device, model_kwargs={'dtype': torch.float32, **chosen})
    return model.to(getattr(torch, dtype)).eval()


def features(model, texts, prompt=None):
    if prompt is not None:
        return model.preprocess(texts, prompt=prompt)
    return model.preprocess(texts)


def token_ids(model, texts, prompt=None):
    """Ids of each text without padding, special tokens included."""
    batch = features(model, texts, prompt)
    if 'offsets' in batch:  # of a StaticEmbedding
        ends = [*batch['offsets'].tolist()[1:], len(batch['input_ids'])]
        return [batch['input_ids'][begin:end].tolist() for begin, end in zip(batch['offsets'].tolist(), ends)]
    return [ids[mask.bool()].tolist() for ids, mask in zip(batch['input_ids'], batch['attention_mask'])]


def embed(folder, texts, dtype='float32', prompt_name=None, device='cpu'):
    """Embeddings of `texts` as sentence-transformers gives them, and the token ids that they come from."""
    model = open_model(folder, dtype, device)
    name = prompt_name if prompt_name is not None else model.default_prompt_name
    prompt = model.prompts[name] if name is not None else None
    with torch.no_grad():
        rows = model.encode(texts, prompt=prompt, convert_to_tensor=True, batch_size=len(texts), show_progress_bar=False)
    return {'embeddings': rows.double().tolist(), 'ids': token_ids(model, texts, prompt), 'dimension': rows.shape[1]}


def layer_rows(folder, texts, dtype='float64'):
    """What sentence-transformers makes of the output of each layer, that of the embeddings first: [layers, texts, dimension]."""
    model = open_model(folder, dtype)
    model[0].model.config.output_hidden_states = True
    with torch.no_grad():
        batch = model[0](features(model, texts))
        rows = []
        for tokens in batch['all_layer_embeddings']:
            layer = {**batch, 'token_embeddings': tokens}
            for module in list(model)[1:]:
                layer = module(layer)
            rows.append(layer['sentence_embedding'].tolist())
    return rows


def info_nce(representations, temperature, similarity='cosine', symmetric=False, targets=None):
    """-log softmax of each anchor's target among all positives and hard negatives; the second direction, where asked,
    is each target's own anchor among all anchors, and the loss then the mean of the two."""
    anchors, *columns = representations
    candidates = torch.cat(columns)
    if similarity == 'cosine':
        anchors, candidates = F.normalize(anchors, dim=-1), F.normalize(candidates, dim=-1)
    scores = anchors @ candidates.T / temperature
    rows = torch.arange(len(anchors), device=scores.device)
    targets = rows if targets is None else torch.tensor(targets, device=scores.device)
    loss = F.cross_entropy(scores, targets)
    if symmetric:
        loss = (loss + F.cross_entropy(scores[:, targets].T, rows)) / 2
    return loss


def own_name(model, name):
    """The checkpoint's name of a parameter, or dense.K for the K-th Dense module, layer_norm.K for the K-th LayerNorm."""
    place, rest = name.split('.', 1)
    if place == '0':
        return rest.removeprefix('model.')
    kind = type(model[int(place)]).__name__
    number = [index for index, module in enumerate(model) if type(module).__name__ == kind].index(int(place))
    own = {'Dense': 'dense', 'LayerNorm': 'layer_norm'}[kind]
    return f'{own}.{number}.{rest.removeprefix("linear.").removeprefix("norm.")}'


def gradient(parameter):
    """NaN marks what the representations do not depend on."""
    return parameter.grad.contiguous() if parameter.grad is not None else torch.full_like(parameter, torch.nan)


def checkpoint_gradients(transformer):
    """Gradients under the names of the checkpoint, which for some models are not those of the modules: saved as weights
    are."""
    copy = deepcopy(transformer)
    with torch.no_grad():
        for to, of in zip(copy.parameters(), transformer.parameters()):
            to.copy_(gradient(of))
    with tempfile.TemporaryDirectory() as folder:
        copy.save_pretrained(folder)
        return load_file(os.path.join(folder, 'model.safetensors'))


def represent(model, texts, prompt=None):
    batch = features(model, texts, prompt)
    batch = {key: value.to(model.device) if torch.is_tensor(value) else value for key, value in batch.items()}
    return model(batch)['sentence_embedding']


def gradients(folder, columns, output, dtype='float32', temperature=0.05, similarity='cosine', symmetric=False,
              targets=None, learned=False, device='cpu', prompt=None):
    """Loss and the gradient of every parameter, without dropout, written to the safetensors file `output`.

    With `learned` the temperature is exp(-log_scale), as in CLIP, and the gradient of log_scale is returned."""
    model = open_model(folder, dtype, device)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    representations = [represent(model, texts, prompt) for texts in columns]
    log_scale = torch.tensor(-torch.log(torch.tensor(temperature, dtype=torch.float64)).item(),
                             dtype=getattr(torch, dtype), device=device, requires_grad=learned)
    chosen = torch.exp(-log_scale) if learned else temperature
    loss = info_nce(representations, chosen, similarity, symmetric, targets)
    if not learned and not symmetric and similarity == 'cosine' and targets is None:
        agrees_with_library(model, representations, temperature, loss)
    loss.backward()
    transformer = getattr(model[0], 'model', None)
    adapted = getattr(transformer, '_hf_peft_config_loaded', False) or hasattr(transformer, 'peft_config')
    if hasattr(transformer, 'save_pretrained') and not adapted:
        stored = checkpoint_gradients(transformer)
    else:
        stored = {own_name(model, f'0.{name}'): gradient(p) for name, p in model[0].named_parameters()}
    behind = [(own_name(model, name), p) for name, p in model.named_parameters() if not name.startswith('0.')]
    grads = {name: g for name, g in stored.items() if not g.isnan().all()}
    grads |= {name: p.grad.contiguous() for name, p in behind}
    save_file(grads, output)
    return {
        'loss': loss.item(), 'file': output, 'names': sorted(grads),
        'unused': sorted(set(stored) - set(grads)),
        'logScaleGradient': log_scale.grad.item() if learned else None,
    }


def dropout_moments(folder, text, count):
    """Mean and standard deviation of each element of a text's representation under dropout, over `count` draws."""
    model = open_model(folder).train()
    torch.manual_seed(0)
    with torch.no_grad():
        rows = represent(model, [text] * count).double()
    return {'mean': rows.mean(0).tolist(), 'deviation': rows.std(0).tolist()}


def agrees_with_library(model, representations, temperature, loss):
    """The formula above against sentence-transformers' own loss: the reference is itself checked."""
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    theirs = MultipleNegativesRankingLoss(model, scale=1 / temperature)
    value = theirs.compute_loss_from_embeddings([r.detach() for r in representations], None)
    assert abs(value.item() - loss.item()) <= 1e-5 * abs(loss.item()), (value.item(), loss.item())
