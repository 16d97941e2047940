"""Encoders of SRU and SRU++ layers written for the tests: every equation as it stands in the papers, one token after the
other, one text at a time. `published` puts the layers of the authors' own package in their place."""
import json
import math
import os
from unittest.mock import patch

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import reference


def recurrence(u, x, weights, name, scale, directions):
    """u [length, directions * blocks * width]; h [length, directions * width]."""
    width = weights[f'{name}.forget.weight'].numel() // directions
    blocks = u.shape[1] // (directions * width)
    u = u.view(len(u), directions, blocks, width)
    outputs = []
    for direction in range(directions):
        part = slice(direction * width, (direction + 1) * width)
        forget, reset, forget_bias, reset_bias = (
            weights[f'{name}.{kind}'][part] for kind in ('forget.weight', 'reset.weight', 'forget.bias', 'reset.bias'))
        cell, rows = torch.zeros(width, dtype=u.dtype), []
        for place in range(len(u)) if direction == 0 else reversed(range(len(u))):
            candidate, f, r, *skip = u[place, direction]
            f = torch.sigmoid(f + forget * cell + forget_bias)
            r = torch.sigmoid(r + reset * cell + reset_bias)
            cell = f * cell + (1 - f) * candidate
            around = skip[0] if skip else x[place, part] * scale
            rows.append(r * (cell - around) + around)
        outputs.append(torch.stack(rows if direction == 0 else rows[::-1]))
    return torch.cat(outputs, 1)


def layer_norm(x, weights, name, epsilon):
    return F.layer_norm(x, x.shape[-1:], weights[f'{name}.weight'], weights[f'{name}.bias'], epsilon)


def projections(x, weights, name, config, epsilon):
    """u of a layer: by one matrix, or by attention in a narrower space."""
    output = weights[f'{name}.projection.weight']
    if f'{name}.query.weight' not in weights:
        return x @ output.T
    z = x @ weights[f'{name}.query.weight'].T
    total = z
    if f'{name}.alpha' in weights:
        keys, values = (z @ weights[f'{name}.key_value.weight'].T).chunk(2, 1)
        heads = config.get('num_attention_heads', 1)
        head = z.shape[1] // heads
        attended = [
            torch.softmax(z[:, part] @ keys[:, part].T / math.sqrt(head), 1) @ values[:, part]
            for part in (slice(k * head, (k + 1) * head) for k in range(heads))]
        total = z + weights[f'{name}.alpha'] * torch.cat(attended, 1)
    return layer_norm(total, weights, f'{name}.attention_norm', epsilon) @ output.T


def rendered(weights, config):
    """A function from a text's word vectors to the last layer's rows."""
    place, epsilon = config.get('layer_norm', 'none'), config.get('layer_norm_eps', 1e-5)
    directions = 2 if config.get('bidirectional', True) else 1
    highway = config.get('highway_bias', -2 if config['model_type'] == 'srupp' else 0)
    scale = math.sqrt(1 + 2 * math.exp(highway)) if config.get('rescale') else 1

    def run(x):
        for number in range(config['num_hidden_layers']):
            name = f'layers.{number}'
            read = layer_norm(x, weights, f'{name}.norm', epsilon) if place == 'before' else x
            x = recurrence(projections(read, weights, name, config, epsilon), x, weights, name, scale, directions)
            if place == 'after':
                x = layer_norm(x, weights, f'{name}.norm', epsilon)
        return x
    return run


def published_model(weights, config):
    """The authors' package's module, and views of our weights under its names: gradients then arrive in ours."""
    # Its import compiles a library and a script that only inference uses.
    with patch('torch.utils.cpp_extension.load'), patch('torch.jit.script', lambda function: function):
        import sru
    place, hidden = config.get('layer_norm', 'none'), config['hidden_size']
    directions = 2 if config.get('bidirectional', True) else 1
    common = dict(
        input_size=config.get('embedding_size', hidden), hidden_size=hidden // directions,
        num_layers=config['num_hidden_layers'], bidirectional=directions == 2, layer_norm=place != 'none',
        normalize_after=place == 'after', rescale=config.get('rescale', False))
    if config['model_type'] == 'srupp':
        model = sru.SRUpp(
            proj_size=config['attention_size'], num_heads=config.get('num_attention_heads', 1),
            attention_every_n_layers=config.get('attention_every_n_layers', 1),
            highway_bias=config.get('highway_bias', -2), **common)
    else:
        model = sru.SRU(highway_bias=config.get('highway_bias', 0), **common)
    model = model.to(next(iter(weights.values())).dtype)
    for cell in model.rnn_lst:  # it was rounded to float32
        if cell.rescale:
            cell.scale_x.fill_(math.sqrt(1 + 2 * math.exp(cell.highway_bias)))
    rows = {}
    for number in range(config['num_hidden_layers']):
        ours, theirs = f'layers.{number}', f'rnn_lst.{number}'
        # Theirs has the blocks of a column side by side.
        output = weights[f'{ours}.projection.weight']
        blocks = len(output) // hidden
        output = output.view(directions, blocks, hidden // directions, -1).transpose(1, 2).reshape(len(output), -1)
        for kind in ('weight', 'bias'):
            rows[f'{theirs}.weight_c' if kind == 'weight' else f'{theirs}.bias'] = torch.cat(
                [weights[f'{ours}.forget.{kind}'], weights[f'{ours}.reset.{kind}']])
            if place != 'none':
                rows[f'{theirs}.layer_norm.{kind}'] = weights[f'{ours}.norm.{kind}']
        module = f'{theirs}.transform_module'
        if config['model_type'] == 'sru':
            rows[f'{module}.weight'] = output
            continue
        for kind in ('weight', 'bias'):
            rows[f'{module}.layer_norm.{kind}'] = weights[f'{ours}.attention_norm.{kind}']
        rows[f'{module}.linear1.weight'] = weights[f'{ours}.query.weight']
        if f'{ours}.alpha' in weights:
            rows[f'{module}.linear2.weight'] = weights[f'{ours}.key_value.weight']
            rows[f'{module}.linear3.weight'] = output
            rows[f'{module}.alpha'] = weights[f'{ours}.alpha']
        else:
            rows[f'{module}.linear2.weight'] = output
    missing = set(dict(model.named_parameters())) ^ set(rows)
    assert not missing, missing
    return model, rows


def published(weights, config):
    """The same function as `rendered` gives, by the authors' package."""
    model, rows = published_model(weights, config)
    return lambda x: torch.func.functional_call(model, rows, x.unsqueeze(1))[0].squeeze(1)


def sru_gradients(folder, columns, output, temperature, dtype='float64', by='rendered'):
    """InfoNCE over columns of token ids, representations being means of tokens; its gradients go to `output`."""
    with open(os.path.join(folder, 'config.json'), encoding='utf8') as file:
        config = json.load(file)
    stored = load_file(os.path.join(folder, 'model.safetensors'))
    weights = {name: value.to(getattr(torch, dtype)).requires_grad_() for name, value in stored.items()}
    run = published(weights, config) if by == 'published' else rendered(weights, config)
    representations = [
        torch.stack([run(weights['embeddings.weight'][torch.tensor(ids)]).mean(0) for ids in column])
        for column in columns]
    loss = reference.info_nce(representations, temperature)
    loss.backward()
    save_file({name: weight.grad for name, weight in weights.items()}, output)
    return {'loss': loss.item(), 'file': output, 'names': list(weights), 'unused': [], 'logScaleGradient': None}
