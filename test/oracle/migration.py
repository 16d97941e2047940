"""Runs the Python of docs/from-sentence-transformers.md: one program of all its blocks, with what they came to at the end."""
import importlib.machinery
import importlib.metadata
import json
import sys
import types

import torch

from pandas_frame import Frame


class Dataset:
    """What sentence-transformers needs of the class of that name of the package datasets, which is large and is not installed."""

    def __init__(self, columns):
        self.columns = columns

    @classmethod
    def from_dict(cls, columns):
        return cls(columns)

    column_names = property(lambda self: list(self.columns))

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.columns[key]
        return {name: values[key] for name, values in self.columns.items()}

    def __iter__(self):
        return (self[row] for row in range(len(self)))

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def to_pandas(self):
        return Frame(self.columns)


def load_dataset(kind, data_files, split):
    assert (kind, split) == ('json', 'train')
    rows = [json.loads(line) for line in open(data_files, encoding='utf8')]
    return Dataset({name: [row[name] for row in rows] for name in rows[0]})


def stand_in():
    module = types.ModuleType('datasets')
    module.__spec__ = importlib.machinery.ModuleSpec('datasets', None)
    module.__version__ = '4.0.0'
    module.Dataset, module.load_dataset = Dataset, load_dataset
    for name in ('DatasetDict', 'IterableDataset', 'IterableDatasetDict', 'Sequence', 'Value', 'Column', 'Features'):
        setattr(module, name, type(name, (), {}))
    installed = importlib.metadata.metadata
    importlib.metadata.metadata = lambda name: (
        {'Name': name, 'Home-page': 'https://github.com/huggingface/datasets'} if name == 'datasets' else installed(name)
    )
    return module


sys.modules['datasets'] = stand_in()
from sentence_transformers.base import model_card  # noqa: E402  after the stand-in

# The card describes the data, of which the stand-in says nothing.
for event in ('on_init_end', 'on_train_begin', 'on_evaluate', 'on_log'):
    setattr(model_card.BaseModelCardCallback, event, lambda *_, **__: None)
torch.set_num_threads(1)
blocks = json.load(sys.stdin)
names = {}
for block in blocks:
    exec(compile(block, 'from-sentence-transformers.md', 'exec'), names)
print(
    json.dumps(
        {
            'vectors': names['vectors'].tolist(),
            'products': (names['queries'] @ names['documents'].T).tolist(),
            'steps': names['trainer'].state.global_step,
            'mined': [names['mined'][row] for row in range(len(names['mined']))],
            'ndcg': names['search'](names['model'])['cosine_ndcg@10'],
            'spearman': names['similarity'](names['model'])['spearman_cosine'],
            'scores': names['scores'].tolist(),
            'ranked': [entry['corpus_id'] for entry in names['ranked']],
        }
    )
)
