"""sentence-transformers' cached loss at its best setting: texts end to end through flash attention, mini-batches cut by
their number of tokens (releases from 6.2 on, with transformers 5). flash_attention/ must be on the path before transformers is
imported."""
import json
import os

import numpy
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import modeling_flash_attention_utils

# Rows of the score matrix that the loss holds at a time; the mini-batches of the encoder are cut by tokens.
SCORE_ROWS = 1024

features_of_file = {}


def read_towers(path):
    """The token ids of both towers, text by text."""
    raw = numpy.fromfile(path, dtype='<i4')
    rows = int(raw[0])
    offsets = [raw[1:rows + 2], raw[rows + 2:2 * rows + 3]]
    place, towers = 2 * rows + 3, []
    for ends in offsets:
        ids = raw[place:place + int(ends[-1])].tolist()
        place += int(ends[-1])
        towers.append([ids[ends[row]:ends[row + 1]] for row in range(rows)])
    return towers


def make_folder(folder, config, stated, pooling, device, dtype):
    """A model folder with random weights, which are made on the device. Its tokenizer reads numbers as their own ids."""
    vocabulary = {'[PAD]': 0, '[UNK]': 1, **{str(token): token for token in range(2, config.vocab_size)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token='[UNK]'))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token='[PAD]', unk_token='[UNK]',
        model_max_length=config.max_position_embeddings).save_pretrained(folder)
    torch.manual_seed(0)
    with torch.device(device):
        model = transformers.AutoModel.from_config(config, dtype=dtype)
    if getattr(model, 'pooler', None) is not None:
        model.pooler = None
    window = getattr(config, 'sliding_window', None)
    model.save_pretrained(folder)
    if stated.get('sliding_window', window) != window:
        # Of a model that looks both ways, transformers halves the window whenever it reads one: it is stored as it was.
        path = os.path.join(folder, 'config.json')
        with open(path, encoding='utf8') as file:
            content = json.load(file)
        with open(path, 'w', encoding='utf8') as file:
            json.dump({**content, 'sliding_window': stated['sliding_window']}, file)
    parts = [('', None), ('1_Pooling', Pooling(config.hidden_size, pooling)), ('2_Normalize', Normalize())]
    kinds = ['Transformer', 'Pooling', 'Normalize']
    for path, module in parts:
        if module is not None:
            os.makedirs(os.path.join(folder, path), exist_ok=True)
            module.save(os.path.join(folder, path))
    with open(os.path.join(folder, 'modules.json'), 'w', encoding='utf8') as file:
        json.dump([
            {'idx': index, 'name': str(index), 'path': path, 'type': f'sentence_transformers.models.{kind}'}
            for index, ((path, _), kind) in enumerate(zip(parts, kinds))
        ], file)


def allow_cpu():
    """Lets transformers take flash attention on a CPU, to try everything out."""
    modeling_flash_attention_utils.is_flash_attn_2_available = lambda: True
    modeling_flash_attention_utils.FLASH_ATTENTION_COMPATIBILITY_MATRIX[2].update(
        general_availability_check=lambda: True, supported_devices=((lambda: True, 'cpu'),))


def open_encoder(folder, device, compile_, lora=None):
    """The SentenceTransformer of a folder, unpadded, in training mode: whole in float32, or adapters of this rank on all
    linear layers of a model in bfloat16."""
    if device == 'cpu':
        allow_cpu()
    model = SentenceTransformer(folder, device=device, model_kwargs={
        'attn_implementation': 'flash_attention_2', 'dtype': torch.float32 if lora is None else torch.bfloat16,
        'device_map': {'': device}})
    transformer = model[0]
    if not transformer.can_flatten_inputs:
        raise RuntimeError('this sentence-transformers does not run unpadded here')
    if lora is not None:
        from peft import LoraConfig
        model.add_adapter(LoraConfig(r=lora, lora_alpha=lora, lora_dropout=0, target_modules='all-linear'))
    transformer.model.config.use_cache = False  # no text is generated
    if compile_:
        # A layer at a time: compiled as a whole, the model runs as it did (no graph is ever taken). Each mini-batch has its own
        # number of tokens, so sizes stay symbols.
        layers = next(part for part in transformer.model.modules() if isinstance(part, nn.ModuleList))
        for layer in layers:
            for part in layer.modules():
                if hasattr(part, 'layer_idx'):
                    part.layer_idx = 0  # only that cache asks for it, and each number would be compiled anew
            layer.compile(dynamic=True)
    return model.train()


def features(model, tokens_file, device, rows=None, part=(0, 1)):
    """What the model takes of the first rows of both towers; of all by default. Of a rank: (rank, ranks), its equal part."""
    if tokens_file not in features_of_file:
        features_of_file.clear()
        features_of_file[tokens_file] = {'towers': read_towers(tokens_file)}
    known = features_of_file[tokens_file]
    if rows not in known:
        known[rows] = []
        for tower in known['towers']:
            some = tower[:rows]
            begin, end = (len(some) * each // part[1] for each in (part[0], part[0] + 1))
            # As preprocess() makes them of texts.
            flat = model[0].data_collator([{'input_ids': ids} for ids in some[begin:end]])
            flat.pop('labels', None)
            known[rows].append(
                {name: value.to(device) if torch.is_tensor(value) else value for name, value in flat.items()})
    return known[rows]


def unpadded_loss(model, tokens, scale, autocast):
    """One forward and backward over features."""
    forward = type(model).forward

    def forward_in_autocast(*arguments, **keywords):
        with autocast():
            return forward(model, *arguments, **keywords)

    # As accelerate, and so the library's trainer, wraps it.
    model.forward = forward_in_autocast
    loss = CachedMultipleNegativesRankingLoss(
        model, scale=scale, mini_batch_size=SCORE_ROWS, mini_batch_num_tokens=tokens)

    def run(both):
        value = loss([dict(tower) for tower in both], None)
        value.backward()
        return value

    return run
