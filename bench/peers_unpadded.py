"""sentence-transformers' cached loss at its best setting: texts end to end through flash attention, mini-batches cut by
their number of tokens (releases from 6.2 on, with transformers 5). flash_attention/ must be on the path before transformers is
imported."""
import tempfile

import numpy
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers

# Rows of the score matrix that the loss holds at a time; the mini-batches of the encoder are cut by tokens.
SCORE_ROWS = 1024


def texts_of(path):
    """Texts whose words are the token ids of the workload's file."""
    raw = numpy.fromfile(path, dtype='<i4')
    rows = int(raw[0])
    offsets = [raw[1:rows + 2], raw[rows + 2:2 * rows + 3]]
    place, towers = 2 * rows + 3, []
    for ends in offsets:
        ids = raw[place:place + int(ends[-1])].tolist()
        place += int(ends[-1])
        towers.append([' '.join(map(str, ids[ends[row]:ends[row + 1]])) for row in range(rows)])
    return towers


def save_model(folder, config):
    """A model folder with random weights, whose tokenizer reads numbers as their own ids."""
    vocabulary = {'[PAD]': 0, '[UNK]': 1, **{str(token): token for token in range(2, config.vocab_size)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token='[UNK]'))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token='[PAD]', unk_token='[UNK]',
        model_max_length=config.max_position_embeddings).save_pretrained(folder)
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)


def make_encoder(config, device, compile_):
    """A SentenceTransformer of this shape, unpadded, in training mode."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(folder, config)
        transformer = Transformer(folder, model_kwargs={'attn_implementation': 'flash_attention_2'})
    if not transformer.can_flatten_inputs:
        raise RuntimeError('this sentence-transformers does not run unpadded here')
    pooling = Pooling(transformer.get_embedding_dimension(), 'mean')
    model = SentenceTransformer(modules=[transformer, pooling, Normalize()], device=device).train()
    if compile_:
        # A layer at a time: compiled as a whole, the model runs as it did (no graph is ever taken). Each mini-batch has its own
        # number of tokens, so sizes stay symbols.
        for layer in transformer.model.encoder.layer:
            layer.compile(dynamic=True)
    return model


def unpadded_loss(model, tokens_file, device, tokens, scale, autocast):
    """The step's forward and backward, the number of its real tokens."""
    features = [
        {name: value.to(device) if torch.is_tensor(value) else value for name, value in model.preprocess(tower).items()}
        for tower in texts_of(tokens_file)
    ]
    forward = type(model).forward

    def forward_in_autocast(*arguments, **keywords):
        with autocast():
            return forward(model, *arguments, **keywords)

    # As accelerate, and so the library's trainer, wraps it.
    model.forward = forward_in_autocast
    loss = CachedMultipleNegativesRankingLoss(
        model, scale=scale, mini_batch_size=SCORE_ROWS, mini_batch_num_tokens=tokens)

    def run():
        value = loss([dict(tower) for tower in features], None)
        value.backward()
        return value

    return run, sum(tower['input_ids'].numel() for tower in features)
