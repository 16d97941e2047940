"""Language models of PyTorch's and the authors' own modules: layers of SRU, SRU++, LSTM or GRU, and torch.nn's adaptive
softmax. QRNN, whose authors' package is not to be had, is written out."""
import json
import os

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import sru_layers


def word_vectors(weights, clusters):
    """[vocabulary, width]"""
    vectors = []
    for owner in [f'embedding.{k}' for k in range(clusters)] if clusters > 1 else ['embedding']:
        projection = weights.get(f'{owner}.projection.weight')
        matrix = weights[f'{owner}.weight']
        vectors.append(matrix if projection is None else matrix @ projection.T)
    return torch.cat(vectors)


def log_likelihoods(weights, cutoffs, vocabulary, divisor, rows, targets):
    """Of targets [n] after rows [n, width]."""
    if not cutoffs:
        return -F.cross_entropy(rows @ weights['output.weight'].T + weights['output.bias'], targets, reduction='none')
    softmax = torch.nn.AdaptiveLogSoftmaxWithLoss(rows.shape[1], vocabulary, cutoffs, div_value=divisor).to(rows.dtype)
    views = {'head.weight': torch.cat([weights['output.0.weight'], weights['output.clusters.weight']])}
    for k in range(len(cutoffs)):
        views[f'tail.{k}.0.weight'] = weights[f'output.{k + 1}.projection.weight'].T
        views[f'tail.{k}.1.weight'] = weights[f'output.{k + 1}.weight']
    missing = set(dict(softmax.named_parameters())) ^ set(views)
    assert not missing, missing
    return torch.func.functional_call(softmax, views, (rows, targets)).output


def qrnn_layer(x, weights, name, window, carried):
    """x [rows, length, width]; carried: the cell before, and the last token's input."""
    cell, before = carried or (0, torch.zeros_like(x[:, :1]))
    seen = x if window == 1 else torch.cat([x, torch.cat([before, x[:, :-1]], 1)], 2)
    outputs = []
    for gates in (seen @ weights[f'{name}.gates.weight'].T + weights[f'{name}.gates.bias']).unbind(1):
        candidate, forget, output = gates.chunk(3, 1)
        forget = torch.sigmoid(forget)
        cell = forget * cell + (1 - forget) * torch.tanh(candidate)
        outputs.append(torch.sigmoid(output) * cell)
    return torch.stack(outputs, 1), (cell, x[:, -1:])


def recurrent(weights, config, window=None):
    """A function from x [rows, length, width] and what is carried (None at first) to the output and what to carry. With a
    window, a token attends to so many before its own."""
    if config['cell'] == 'qrnn':
        def through(x, carried):
            after = []
            for k, own in enumerate(carried or [None] * config['layers']):
                x, own = qrnn_layer(x, weights, f'layers.{k}', config['qrnnWindow'], own)
                after.append(own)
            return x, after
        return through
    if config['cell'] in ('lstm', 'gru'):
        width = weights['layers.0.weight_hh'].shape[1]
        module = torch.nn.LSTM if config['cell'] == 'lstm' else torch.nn.GRU
        model = module(width, width, config['layers'], batch_first=True).to(weights['layers.0.weight_hh'].dtype)
        views = {f'{kind}_l{k}': weights[f'layers.{k}.{kind}'] for k in range(config['layers'])
                 for kind in ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh')}
        return lambda x, carried: torch.func.functional_call(model, views, (x, carried))
    attends = config['cell'] == 'sru++'
    model, views = sru_layers.published_model(weights, {
        'model_type': 'srupp' if attends else 'sru', 'bidirectional': False, 'hidden_size': config['width'],
        'num_hidden_layers': config['layers'], 'attention_size': config.get('projected'),
        'num_attention_heads': config.get('heads', 1), 'attention_every_n_layers': config.get('attentionEvery', 1),
        'layer_norm': config['norm'], 'highway_bias': config['highwayBias'], 'rescale': config['rescale']})

    def run(x, carried):
        state, memory = carried or (None, None)
        if not attends:
            output, state = torch.func.functional_call(model, views, (x.transpose(0, 1), state))
            return output.transpose(0, 1), (state, None)
        length, before = x.shape[1], 0 if memory is None else memory[0].shape[0]
        hidden = torch.full((length, before + length), -10000.0, dtype=x.dtype)
        mask = hidden.triu(before + 1) if window is None else hidden.triu(before + 1) + hidden.tril(before - 1 - window)
        output, state, kept = torch.func.functional_call(
            model, views, (x.transpose(0, 1), state, None, mask, memory))
        return output.transpose(0, 1), (state, [rows.detach() for rows in kept['saved_inputs']])
    return run


def language_gradients(folder, segments, output, window=None, dtype='float64'):
    """The loss over segments, a sum over all targets, in one graph through the carried state. Gradients go to `output`."""
    with open(os.path.join(folder, 'config.json'), encoding='utf8') as file:
        config = json.load(file)
    stored = load_file(os.path.join(folder, 'model.safetensors'))
    weights = {name: value.to(getattr(torch, dtype)).requires_grad_() for name, value in stored.items()}
    cutoffs = config.get('cutoffs', [])
    vectors = word_vectors(weights, len(cutoffs) + 1)
    run, carried, loss = recurrent(weights, config, window), None, 0
    for inputs, targets in segments:
        rows, carried = run(vectors[torch.tensor(inputs)], carried)
        chosen = torch.tensor(targets).flatten()
        loss = loss - log_likelihoods(weights, cutoffs, config['vocabulary'], config.get('divisor'),
                                      rows.flatten(0, 1), chosen).sum()
    loss.backward()
    save_file({name: value.grad.contiguous() for name, value in weights.items()}, output)
    return {'loss': loss.item(), 'file': output, 'names': list(weights), 'unused': [], 'logScaleGradient': None}
