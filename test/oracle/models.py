"""Small random-weight models, saved by transformers and sentence-transformers themselves.

Sizes are odd on purpose (heads of 12, three layers, a vocabulary that is no multiple of anything) and no
parameter keeps its initial zero or one, so that a bias left out or two swapped norms cannot go unseen.
"""
import json
import os
import random

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoConfig, AutoModel, BertConfig, BertForMaskedLM, BertModel, DistilBertConfig, DistilBertModel, ElectraConfig,
    ElectraForPreTraining, ElectraModel, MPNetConfig, MPNetModel, ModernBertConfig, ModernBertModel, PreTrainedTokenizerFast, RobertaConfig,
    RobertaModel, T5EncoderModel, XLMRobertaConfig, XLMRobertaModel,
)

WORDS = (
    'a the of to and in is it that was for on are as with his they at be this from have or by one had not but what '
    'all were when we there can an your which their said if do will each about how up out them then she many some so '
    'cat dog house water tree river stone light small large green red run walk swim fly eat sleep think learn model '
    'vector gradient search query passage'
).split()


def sentences(seed, count, low, high):
    """Seeded sentences of low..high words, a few with words outside of every vocabulary."""
    rng = random.Random(seed)
    out = []
    for _ in range(count):
        words = [rng.choice(WORDS) for _ in range(rng.randint(low, high))]
        if rng.random() < 0.2:
            words.insert(rng.randrange(len(words) + 1), rng.choice(['Zürich', 'naïve,', '東京', 'x²+y²', '🙂', "don't"]))
        out.append(' '.join(words))
    return out


# The vocabularies are listed here, not trained: the trainers break ties by hash order, which changes between runs.
LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789.,!?²+'


def wordpiece(specials):
    """BERT's way: lower case, wordpiece, [CLS] text [SEP]; `specials` is (pad, unk, cls, sep, mask)."""
    pad, unk, cls, sep, mask = specials
    order = [pad, unk, cls, sep, mask] if pad == '[PAD]' else [cls, pad, sep, unk, mask]
    pieces = order + list(LETTERS) + ['##' + letter for letter in LETTERS] + WORDS[2:] + ['##er', '##ing', "##'t"]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unk))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(cls, vocabulary[cls]), (sep, vocabulary[sep])]
    pair = f'{cls} $A {sep} $B:1 {sep}:1' if pad == '[PAD]' else f'{cls} $A {sep} {sep} $B {sep}'
    tokenizer.post_processor = processors.TemplateProcessing(single=f'{cls} $A {sep}', pair=pair, special_tokens=ends)
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def byte_pairs():
    """RoBERTa's way: bytes, <s> text </s>, padding id 1. Half of the words are joined into one token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = {}
    for word in WORDS[::2]:
        left = 'Ġ'
        for letter in word:
            merges[(left, letter)] = left + letter
            left += letter
    pieces = ['<s>', '<pad>', '</s>', '<unk>', *alphabet, *merges.values(), '<mask>']
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.BPE(vocabulary, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(('</s>', 2), ('<s>', 0), add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def unigram():
    """XLM-R's way: sentencepiece pieces with a score, <s> text </s>, padding id 1."""
    scored = [('<s>', 0.0), ('<pad>', 0.0), ('</s>', 0.0), ('<unk>', 0.0), ('▁', -2.5)]
    scored += [(letter, -7.0 - 0.01 * index) for index, letter in enumerate(LETTERS)]
    scored += [('▁' + word, -3.0 - 0.01 * index) for index, word in enumerate(WORDS[1::2])]
    tokenizer = Tokenizer(models.Unigram([*scored, ('<mask>', 0.0)], unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single='<s> $A </s>', pair='<s> $A </s> </s> $B </s>', special_tokens=[('<s>', 0), ('</s>', 2)])
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


BRACKETS = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')
ANGLES = ('<pad>', '<unk>', '<s>', '</s>', '<mask>')
SHAPE = dict(hidden_size=36, num_hidden_layers=3, num_attention_heads=3, intermediate_size=50)
SMALL = dict(SHAPE, max_position_embeddings=64)
MARKS = dict(pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3)
DROPOUT = dict(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)

# Models that AutoModel makes: name -> (model_type, configuration). Grouped queries, windows shorter than the texts.
GROUPED = dict(SMALL, num_attention_heads=4, num_key_value_heads=2, head_dim=6, pad_token_id=0, bos_token_id=2, eos_token_id=3)
LLAMA3 = dict(rope_type='llama3', rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
YARN = dict(rope_type='yarn', rope_theta=500.0, factor=4.0, original_max_position_embeddings=16)
GEMMA = dict(GROUPED, query_pre_attn_scalar=9, num_hidden_layers=3)
TODAYS = {
    'qwen3': ('qwen3', dict(GROUPED, attention_dropout=0.1)),
    'qwen3-windows': ('qwen3', dict(GROUPED, attention_bias=True, use_sliding_window=True, sliding_window=4, max_window_layers=1)),
    'qwen2': ('qwen2', {**{k: v for k, v in GROUPED.items() if k != 'head_dim'}, 'num_attention_heads': 6, 'num_key_value_heads': 2, 'pad_token_id': 1, 'bos_token_id': 0, 'eos_token_id': 2}),
    'llama': ('llama', dict(GROUPED, rope_parameters=LLAMA3, attention_bias=True, mlp_bias=True)),
    'llama-yarn': ('llama', dict(GROUPED, rope_parameters=YARN, rms_norm_eps=1e-5)),
    'mistral': ('mistral', dict(GROUPED, sliding_window=5, rms_norm_eps=1e-5)),
    'eurobert': ('eurobert', dict(GROUPED, rope_parameters=dict(rope_type='default', rope_theta=250.0), mask_token_id=4)),
    'gemma2': ('gemma2', dict(GEMMA, sliding_window=4, attn_logit_softcapping=2.0)),
    'gemma3': ('gemma3_text', dict(GEMMA, sliding_window=8, use_bidirectional_attention=True, layer_types=['sliding_attention', 'full_attention', 'sliding_attention'])),
    'gemma3-causal': ('gemma3_text', dict(GEMMA, sliding_window=4, layer_types=['sliding_attention', 'full_attention', 'sliding_attention'])),
    'deberta-v2': ('deberta-v2', dict(SMALL, **DROPOUT, relative_attention=True, position_buckets=8, norm_rel_ebd='layer_norm', share_att_key=True, pos_att_type='p2c|c2p', position_biased_input=False, pad_token_id=0)),
    'deberta-v2-products': ('deberta-v2', dict(SMALL, relative_attention=True, pos_att_type=['c2p', 'p2c'], type_vocab_size=2, max_relative_positions=9, hidden_act='gelu_new', legacy=False, pad_token_id=0)),
    'deberta-v2-p2c': ('deberta-v2', dict(SMALL, relative_attention=True, position_buckets=6, max_relative_positions=20, pos_att_type=['p2c'], position_biased_input=False, pad_token_id=0)),
    'ernie': ('ernie', dict(SMALL, hidden_dropout_prob=0.1)),
    'albert': ('albert', dict(SMALL, embedding_size=20)),
    't5': ('t5', dict(d_model=36, d_kv=10, d_ff=50, num_layers=3, num_heads=3, relative_attention_max_distance=40, dropout_rate=0.1)),
    't5-gated': ('t5', dict(d_model=36, d_kv=12, d_ff=50, num_layers=2, num_heads=3, feed_forward_proj='gated-gelu')),
    'nomic_bert': ('nomic_bert', dict(SMALL, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)),
    'gte': ('gte', dict(SMALL, hidden_dropout_prob=0.1, type_vocab_size=2, pad_token_id=0)),
    'gte-typeless': ('gte', dict(SMALL, hidden_dropout_prob=0.0, type_vocab_size=0, pad_token_id=0, rope_parameters=dict(rope_type='default', rope_theta=300.0))),
}

# name -> (model class, configuration class, configuration, tokenizer, special tokens, longest text in tokens)
ARCHITECTURES = {
    'bert': (BertModel, BertConfig, dict(SHAPE, **DROPOUT, max_position_embeddings=64, type_vocab_size=2), 'wordpiece', BRACKETS, 64),
    'bert-relu': (BertModel, BertConfig, dict(SHAPE, max_position_embeddings=61, type_vocab_size=3, hidden_act='relu', layer_norm_eps=1e-5), 'wordpiece', BRACKETS, 61),
    'bert-gelu-new': (BertModel, BertConfig, dict(SHAPE, max_position_embeddings=64, hidden_act='gelu_new', layer_norm_eps=1e-6), 'wordpiece', BRACKETS, 64),
    'roberta': (RobertaModel, RobertaConfig, dict(SHAPE, **DROPOUT, max_position_embeddings=66, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2), 'byte_pairs', ANGLES, 64),
    'xlm-roberta': (XLMRobertaModel, XLMRobertaConfig, dict(SHAPE, **DROPOUT, max_position_embeddings=66, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2), 'unigram', ANGLES, 64),
    'distilbert': (DistilBertModel, DistilBertConfig, dict(dim=36, n_layers=3, n_heads=3, hidden_dim=50, max_position_embeddings=64, dropout=0.1, attention_dropout=0.1), 'wordpiece', BRACKETS, 64),
    'distilbert-sinusoidal': (DistilBertModel, DistilBertConfig, dict(dim=36, n_layers=2, n_heads=3, hidden_dim=50, max_position_embeddings=64, sinusoidal_pos_embds=True), 'wordpiece', BRACKETS, 64),
    # Long enough for every bucket of the relative positions, the last of which begins at 128.
    'mpnet': (MPNetModel, MPNetConfig, dict(SHAPE, **DROPOUT, max_position_embeddings=202, relative_attention_num_buckets=32, pad_token_id=1, bos_token_id=0, eos_token_id=2), 'wordpiece', ANGLES, 200),
    'electra': (ElectraModel, ElectraConfig, dict(SHAPE, **DROPOUT, embedding_size=22, max_position_embeddings=64, type_vocab_size=2), 'wordpiece', BRACKETS, 64),
    'electra-square': (ElectraModel, ElectraConfig, dict(SHAPE, embedding_size=36, max_position_embeddings=64), 'wordpiece', BRACKETS, 64),
    'modernbert': (ModernBertModel, ModernBertConfig, dict(SMALL, **MARKS, num_hidden_layers=4, local_attention=8, attention_dropout=0.1, mlp_dropout=0.1, embedding_dropout=0.1), 'wordpiece', BRACKETS, 64),
    'modernbert-biased': (ModernBertModel, ModernBertConfig, dict(SMALL, **MARKS, local_attention=14, norm_bias=True, attention_bias=True, mlp_bias=True, hidden_activation='gelu_pytorch_tanh', norm_eps=1e-6, layer_types=['sliding_attention', 'full_attention', 'full_attention'], rope_parameters={'full_attention': {'rope_type': 'linear', 'rope_theta': 500.0, 'factor': 2.0}, 'sliding_attention': {'rope_type': 'default', 'rope_theta': 30.0}}), 'wordpiece', BRACKETS, 64),
    'electra-discriminator': (ElectraForPreTraining, ElectraConfig, dict(SHAPE, embedding_size=40, max_position_embeddings=64), 'wordpiece', BRACKETS, 64),
}


def disturb(model, seed):
    """Moves every parameter away from its initial value; matrices stay small enough for sensible activations."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            spread = 0.1 if parameter.dim() < 2 else 1.2 / parameter.shape[-1] ** 0.5
            parameter.add_(torch.randn(parameter.shape, generator=generator) * spread)


def save_transformer(name, folder, dtype='float32', shard=None, seed=1):
    """A transformers folder: config.json, model.safetensors (sharded when `shard` is a size), tokenizer.json."""
    config, tokenizer, specials, longest = described(name)
    torch.manual_seed(seed)
    if name in TODAYS:
        model = T5EncoderModel(config) if config.model_type == 't5' else AutoModel.from_config(config)
    else:
        model = ARCHITECTURES[name][0](config)
    disturb(model, seed)
    model.to(getattr(torch, dtype)).save_pretrained(folder, **({'max_shard_size': shard} if shard else {}))
    save_tokenizer(tokenizer, specials, longest, folder)
    return folder


def described(name, **more):
    """The configuration of a model, with `more`, its tokenizer, the special tokens and the longest text in tokens."""
    if name in TODAYS:
        model_type, settings = TODAYS[name]
        # transformers takes Qwen's own class for the type, whatever the folder names.
        tokenizer, specials = (byte_pairs(), ANGLES) if model_type == 'qwen2' else (wordpiece(BRACKETS), BRACKETS)
        config = AutoConfig.for_model(model_type, vocab_size=tokenizer.get_vocab_size(), **{**settings, **more})
        return config, tokenizer, specials, 64
    _, config_class, settings, kind, specials, longest = ARCHITECTURES[name]
    tokenizer = wordpiece(specials) if kind == 'wordpiece' else byte_pairs() if kind == 'byte_pairs' else unigram()
    return config_class(vocab_size=tokenizer.get_vocab_size(), **{**settings, **more}), tokenizer, specials, longest


def save_tokenizer(tokenizer, specials, longest, folder):
    pad, unk, cls, sep, mask = specials
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=longest, pad_token=pad, unk_token=unk, cls_token=cls,
        sep_token=sep, mask_token=mask, bos_token=cls, eos_token=sep,
    ).save_pretrained(folder)


def save_masked_lm(folder, old_norm_names=False):
    """BERT saved with its language-model head: every name has the prefix `bert.`, the head's tensors are extra, the
    pooler is absent. `old_norm_names` gives the norms gamma and beta, as in the oldest published checkpoints."""
    tokenizer = wordpiece(BRACKETS)
    torch.manual_seed(3)
    model = BertForMaskedLM(BertConfig(vocab_size=tokenizer.get_vocab_size(), **ARCHITECTURES['bert'][2]))
    disturb(model, 3)
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, BRACKETS, 64, folder)
    if old_norm_names:
        path = os.path.join(folder, 'model.safetensors')
        tensors = {k.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta'): v
                   for k, v in load_file(path).items()}
        save_file(tensors, path, metadata={'format': 'pt'})
    return folder


def save_sentence_transformer(name, folder, pooling, dense=(), normalize=False, prompts=None, default_prompt=None, max_length=None):
    """A sentence-transformers folder around a random model; `dense` lists (out features, activation, bias)."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    source = save_transformer(name, folder + '.transformer', seed=5)
    transformer = Transformer(source)
    if max_length is not None:
        transformer.max_seq_length = max_length
    width = AutoModel.from_pretrained(source).config.hidden_size
    modules = [transformer, Pooling(width, pooling_mode=pooling)]
    for index, (out, activation, bias) in enumerate(dense):
        torch.manual_seed(70 + index)
        function = {'tanh': torch.nn.Tanh, 'identity': torch.nn.Identity, 'relu': torch.nn.ReLU, 'gelu': torch.nn.GELU}[activation]()
        modules.append(Dense(width, out, bias=bias, activation_function=function))
        width = out
    if normalize:
        modules.append(Normalize())
    SentenceTransformer(modules=modules, prompts=prompts or {}, default_prompt_name=default_prompt).save(folder)
    return folder


def describe(folder):
    with open(os.path.join(folder, 'config.json'), encoding='utf8') as file:
        return json.load(file)
