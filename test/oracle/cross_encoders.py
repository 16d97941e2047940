"""Cross-encoders and their losses, by transformers and sentence-transformers themselves."""
import json
import os

import torch
from safetensors.torch import save_file
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import losses
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

import models

# The class of the tokenizer where a folder is to name one: it decides on the types of tokens and on the template.
TOKENIZERS = {
    'bert': 'BertTokenizer', 'roberta': 'RobertaTokenizer', 'xlm-roberta': 'XLMRobertaTokenizer', 'distilbert': 'DistilBertTokenizer',
    'mpnet': 'MPNetTokenizer', 'electra': 'ElectraTokenizer', 'albert': 'BertTokenizer', 'gte': 'BertTokenizer',
    'deberta-v2-products': 'BertTokenizer', 'nomic_bert': 'BertTokenizer', 'ernie': 'BertTokenizer',
}


# Gemma 2 caps its scores in this form of attention alone.
EAGER = {'attn_implementation': 'eager'}


def save_cross_encoder(name, folder, labels=1, by='transformers', activation=None, max_length=None, prompts=None, config=None):
    """A folder as transformers or sentence-transformers saves it; `activation` is a class of torch.nn."""
    described, tokenizer, specials, longest = models.described(name, num_labels=labels, **(config or {}))
    torch.manual_seed(11)
    model = AutoModelForSequenceClassification.from_config(described)
    models.disturb(model, 11)
    source = folder if by == 'transformers' else folder + '.transformer'
    model.save_pretrained(source)
    if described.pad_token_id == 3:
        specials = ('[SEP]', *specials[1:])
    models.save_tokenizer(tokenizer, specials, longest, source)
    if name in TOKENIZERS:
        state_tokenizer_class(source, TOKENIZERS[name])
    if by == 'sentence-transformers':
        extra = {} if activation is None else {'activation_fn': getattr(torch.nn, activation)()}
        if max_length is not None:
            extra['max_length'] = max_length
        CrossEncoder(source, device='cpu', prompts=prompts, **extra).save(folder)
    return folder


def state_tokenizer_class(folder, name):
    path = os.path.join(folder, 'tokenizer_config.json')
    with open(path, encoding='utf8') as file:
        config = json.load(file)
    with open(path, 'w', encoding='utf8') as file:
        json.dump({**config, 'tokenizer_class': name}, file)


# A token of padding whose window holds no other has no finite score in float64: eager attention makes NaN of it.
WINDOWED = ('modernbert', 'gemma3_text')


def open_cross_encoder(folder, dtype):
    windowed = AutoConfig.from_pretrained(folder).model_type in WINDOWED
    attention = {'attn_implementation': 'sdpa'} if windowed else EAGER
    model = CrossEncoder(folder, device='cpu', model_kwargs={'dtype': torch.float32, **attention})
    return model.to(getattr(torch, dtype)).eval()


def pair_scores(folder, pairs, dtype='float32', prompt=None, activated=True):
    """Scores as `predict` gives them, the ids and the types of each pair's tokens, and the settings that were read."""
    model = open_cross_encoder(folder, dtype)
    activation = None if activated else torch.nn.Identity()
    scores = model.predict([list(pair) for pair in pairs], prompt=prompt, activation_fn=activation, convert_to_tensor=True,
                           show_progress_bar=False)
    features = [model.preprocess([list(pair)], prompt=prompt) for pair in pairs]
    return {'scores': scores.double().reshape(len(pairs), -1).tolist(),
            'ids': [each['input_ids'][0].tolist() for each in features],
            'types': [each['token_type_ids'][0].tolist() if 'token_type_ids' in each else None for each in features],
            'max_length': model.max_seq_length, 'activation': type(model.activation_fn).__name__}


def transformers_logits(folder, pairs):
    """Logits by AutoModelForSequenceClassification, and what it says of names that are missing or unexpected."""
    model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True, **EAGER)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer([list(pair) for pair in pairs], padding=True, truncation=True, return_tensors='pt')
    with torch.no_grad():
        logits = model.eval()(**batch).logits
    return {'logits': logits.double().tolist(),
            'wrong': [*map(str, info['missing_keys']), *map(str, info['unexpected_keys'])]}


def pair_gradients(folder, loss, inputs, output, options=None, labels=None, label_type='float', dtype='float64'):
    """The value of a loss of sentence-transformers and the gradient of every parameter, without dropout.

    Returns the pairs that the model was given, in that order, too: a ranking loss draws some of them."""
    model = open_cross_encoder(folder, dtype)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    given = dict(options or {})
    if 'activation_fn' in given:
        given['activation_fn'] = getattr(torch.nn, given['activation_fn'])()
    if 'weighting_scheme' in given and given['weighting_scheme'] is not None:
        given['weighting_scheme'] = getattr(losses, given['weighting_scheme'])()
    if 'pos_weight' in given:
        given['pos_weight'] = torch.tensor(given['pos_weight'], dtype=getattr(torch, dtype))
    criterion = getattr(losses, loss)(model, **given)
    target = None
    if labels is not None:
        kind = {'float': torch.float32, 'long': torch.long}[label_type]
        nested = isinstance(labels[0], list)
        target = [torch.tensor(each, dtype=kind) for each in labels] if nested else torch.tensor(labels, dtype=kind)
    seen = []
    preprocess = model.preprocess

    def recorded(pairs, **how):
        seen.extend(list(pair) for pair in pairs)
        return preprocess(pairs, **how)

    model.preprocess = recorded
    torch.manual_seed(3)
    value = criterion(inputs, target)
    first_pass = list(seen)
    value.backward()
    found = {name.removeprefix('0.model.'): parameter for name, parameter in model.named_parameters()}
    save_file({name: parameter.grad.contiguous() for name, parameter in found.items() if parameter.grad is not None}, output)
    return {'loss': value.item(), 'file': output, 'names': sorted(found), 'pairs': first_pass,
            'unused': sorted(name for name, parameter in found.items() if parameter.grad is None),
            'logScaleGradient': None}


def reranking(folder, samples, at=10, always_rerank_positives=True):
    """What CrossEncoderRerankingEvaluator measures."""
    from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator
    evaluator = CrossEncoderRerankingEvaluator(samples, at_k=at, always_rerank_positives=always_rerank_positives, write_csv=False)
    return {name: float(value) for name, value in evaluator(open_cross_encoder(folder, 'float64')).items()}
