"""Token ids of texts as transformers gives them for a folder: one JSON object a line in, one a line out.

Request {"folder": path, "texts": [...]}; answer {"ids": [[...]], "class": name} or {"error": what was raised}.
With "save": path the tokenizer is saved there too, and the answer has "arguments": the names that its class takes.

Request {"train": path, "lines": [...], "settings": {...}}: sentencepiece writes a model of these lines there.
"""
import inspect
import json
import os
import sys
import warnings

warnings.filterwarnings('ignore')
os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_VERBOSITY='error', TOKENIZERS_PARALLELISM='false', HF_HUB_DISABLE_TELEMETRY='1')
answers = os.fdopen(os.dup(1), 'w', encoding='utf8')
os.dup2(2, 1)  # whatever a library prints goes to standard error, not between the answers

from transformers import AutoTokenizer  # noqa: E402


def train(request):
    import sentencepiece

    with open(request['train'], 'wb') as file:
        settings = {'hard_vocab_limit': False, 'minloglevel': 2, **request['settings']}
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(request['lines']), model_writer=file, **settings)
    return {}


def answer(request):
    try:
        if 'train' in request:
            return train(request)
        tokenizer = AutoTokenizer.from_pretrained(request['folder'])
        names = set()
        if 'save' in request:
            tokenizer.save_pretrained(request['save'])
            for each in type(tokenizer).__mro__[:-1]:
                parameters = inspect.signature(each.__init__).parameters.values()
                names.update(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != 'self')
        return {'arguments': sorted(names), 'ids': [tokenizer(text)['input_ids'] for text in request['texts']], 'class': type(tokenizer).__name__}
    except BaseException as error:  # a panic of the tokenizers library is no Exception
        return {'error': f'{type(error).__name__}: {error}'}


if __name__ == '__main__':
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + '\n')
        answers.flush()
