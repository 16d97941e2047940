"""Training steps of language models in PyTorch: SRU++ of the published package (`pip install sru`) with its CUDA kernel, and a
Transformer of as many parameters, compiled. A line of JSON a model. bench/language.ts runs the same shapes.

  python3 bench/peers_language.py --model srupp --width 3072 --projection 768 --layers 10 --length 1024 --batch 8
"""
import argparse
import json
import time

import torch
from torch import nn
from torch.nn import functional as F


class PublishedSruPlusPlus(nn.Module):
    """As the package's own enwik8 example builds it, with the memory of the previous segment."""

    def __init__(self, options):
        super().__init__()
        import sru
        self.embedding = nn.Embedding(options.vocabulary, options.width)
        self.layers = sru.SRUpp(
            options.width, options.width, options.projection, num_layers=options.layers, dropout=options.dropout,
            attn_dropout=options.dropout, highway_bias=-2.0)
        for cell in self.layers.rnn_lst:
            cell.amp_recurrence_fp16 = True
        self.output = nn.Linear(options.width, options.vocabulary)
        self.state = self.memory = None

    def forward(self, inputs, targets):
        length = inputs.size(0)
        mask = torch.full((length, 2 * length), -10000.0, device=inputs.device).triu_(1 + length)
        mask = mask if self.memory is not None else mask[:, length:].contiguous()
        hidden, state, saved = self.layers(
            F.dropout(self.embedding(inputs), self.layers.dropout), self.state, attn_mask=mask, memory=self.memory)
        self.state, self.memory = state.detach(), [x.detach() for x in saved['saved_inputs']]
        return F.cross_entropy(self.output(hidden).flatten(0, 1), targets.flatten())


class TransformerLayer(nn.Module):
    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(self.attention_norm(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=self.dropout)
        x = x + F.dropout(self.out(y.transpose(1, 2).reshape(batch, length, width)), self.dropout)
        return x + F.dropout(self.down(F.gelu(self.up(self.feed_forward_norm(x)))), self.dropout)


class Transformer(nn.Module):
    """Pre-norm, heads of 64, the number of layers given, its width chosen for the number of parameters asked for."""

    def __init__(self, options):
        super().__init__()
        width = min(range(64, 8192, 64), key=lambda w: abs(12 * options.layers * w * w - options.parameters))
        self.embedding = nn.Embedding(options.vocabulary, width)
        self.positions = nn.Embedding(options.length, width)
        self.layers = nn.ModuleList(TransformerLayer(width, width // 64, options.dropout) for _ in range(options.layers))
        self.norm, self.output = nn.LayerNorm(width), nn.Linear(width, options.vocabulary)

    def forward(self, inputs, targets):
        x = self.embedding(inputs.t()) + self.positions.weight
        for layer in self.layers:
            x = layer(x)
        return F.cross_entropy(self.output(self.norm(x)).flatten(0, 1), targets.t().flatten())


def measure(options):
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = True
    model = {'srupp': PublishedSruPlusPlus, 'transformer': Transformer}[options.model](options).cuda().train()
    # The published kernel takes float16, not bfloat16. Neither loss nor gradient is scaled: only the time counts here.
    half = torch.float16 if options.model == 'srupp' else torch.bfloat16
    step = torch.compile(model) if options.model == 'transformer' else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    tokens = torch.randint(options.vocabulary, (options.length + 1, options.batch), device='cuda')

    def update():
        with torch.autocast('cuda', half):
            loss = step(tokens[:-1], tokens[1:])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    for _ in range(5):
        update()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(options.repeats):
        begin = time.perf_counter()
        for _ in range(5):
            update()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - begin) / 5)
    seconds = sorted(times)[len(times) // 2]
    print(json.dumps({
        'model': options.model, 'parameters': sum(p.numel() for p in model.parameters()), 'batch': options.batch,
        'length': options.length, 'milliseconds': round(1000 * seconds, 2),
        'tokensPerSecond': round(options.batch * options.length / seconds),
        'peakMemory': torch.cuda.max_memory_allocated(), 'gpu': torch.cuda.get_device_name(), 'torch': torch.__version__,
    }), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--model', choices=['srupp', 'transformer'], required=True)
    for name, value in dict(width=3072, projection=768, layers=10, length=1024, batch=8, vocabulary=205, repeats=5,
                            parameters=107_566_295).items():
        parser.add_argument(f'--{name}', type=int, default=value)
    parser.add_argument('--dropout', type=float, default=0.22)
    measure(parser.parse_args())


if __name__ == '__main__':
    main()
