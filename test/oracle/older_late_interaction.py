"""Models of late interaction in the folders of PyLate and of Stanford's ColBERT."""
import json
import os

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

import models


def save_older(name, folder, kind, config=None):
    """A random model as PyLate or Stanford's ColBERT save one: `kind` is 'pylate', 'pylate-unnamed' or 'stanford'. Marks that
    stand in front of texts are words of the vocabulary, or of PyLate tokens with a space behind them."""
    models.save_transformer(name, folder, seed=8)
    torch.manual_seed(72)
    path = os.path.join(folder, 'config.json')
    with open(path) as file:
        own = json.load(file)
    projection = torch.randn(6, own['hidden_size'])
    if kind == 'stanford':
        path_of_words = os.path.join(folder, 'tokenizer.json')
        with open(path_of_words) as file:
            words = json.load(file)
        vocabulary = words['model']['vocab']
        for place, mark in enumerate(['[unused0]', '[unused1]']):
            vocabulary[mark] = vocabulary.pop(['river', 'stone'][place])
        with open(path_of_words, 'w') as file:
            json.dump(words, file)
        weights = load_file(os.path.join(folder, 'model.safetensors'))
        prefix = own['model_type'] + '.'
        weights = {key if key.startswith(prefix) else prefix + key: value for key, value in weights.items()}
        save_file({**weights, 'linear.weight': projection}, os.path.join(folder, 'model.safetensors'), {'format': 'pt'})
        with open(path, 'w') as file:
            json.dump({**own, 'architectures': ['HF_ColBERT']}, file)
        if config is not None:
            with open(os.path.join(folder, 'artifact.metadata'), 'w') as file:
                json.dump(config, file)
        return folder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(['[Q] ', '[D] '])
    tokenizer.pad_token = tokenizer.mask_token
    tokenizer.save_pretrained(folder)
    weights = load_file(os.path.join(folder, 'model.safetensors'))
    key = next(key for key in weights if key.endswith('word_embeddings.weight'))
    weights[key] = torch.cat([weights[key], torch.randn(2, weights[key].shape[1])])
    save_file(weights, os.path.join(folder, 'model.safetensors'), {'format': 'pt'})
    with open(path, 'w') as file:
        json.dump({**own, 'vocab_size': len(weights[key])}, file)
    os.makedirs(os.path.join(folder, '1_Dense'))
    save_file({'linear.weight': projection}, os.path.join(folder, '1_Dense', 'model.safetensors'), {'format': 'pt'})
    write = {
        '1_Dense/config.json': {'in_features': own['hidden_size'], 'out_features': 6, 'bias': False,
                                'activation_function': 'torch.nn.modules.linear.Identity'},
        'modules.json': [
            {'idx': 0, 'name': '0', 'path': '', 'type': 'sentence_transformers.models.Transformer'},
            {'idx': 1, 'name': '1', 'path': '1_Dense', 'type': 'pylate.models.Dense.Dense'}],
        'sentence_bert_config.json': {'max_seq_length': 31, 'do_lower_case': False},
        'config_sentence_transformers.json': {
            '__version__': {'sentence_transformers': '4.0.2', 'PyLate': '1.2.0'}, 'prompts': {}, 'default_prompt_name': None,
            'similarity_fn_name': 'MaxSim', **({'model_type': 'ColBERT'} if kind == 'pylate' else {}), **(config or {})},
    }
    for place, content in write.items():
        with open(os.path.join(folder, place), 'w') as file:
            json.dump(content, file)
    return folder
