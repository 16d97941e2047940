"""Hard negatives, by sentence-transformers itself."""
import contextlib
import io
import sys
import types
from unittest import mock

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.util import hard_negatives

from pandas_frame import Frame


class Dataset(dict):
    """What mine_hard_negatives needs of the class of that name of the package datasets."""

    from_dict = classmethod(lambda cls, columns: cls(columns))
    column_names = property(lambda self: list(self))

    def to_pandas(self):
        return Frame(self)

    def __len__(self):
        return len(next(iter(self.values())))


hard_negatives.is_datasets_available = lambda: True
MODELS = {}


def open_model(folder):
    """A model that encodes each list of texts once."""
    if folder not in MODELS:
        model = SentenceTransformer(folder, device='cpu')
        for name in ('encode_query', 'encode_document'):
            setattr(model, name, remembering(getattr(model, name)))
        MODELS[folder] = model
    return MODELS[folder]


def remembering(encode):
    known = {}

    def encode_once(texts, **how):
        key = (tuple(texts), how['prompt_name'], how['prompt'])
        if key not in known:
            known[key] = encode(texts, **{**how, 'show_progress_bar': False})
        return known[key]

    return encode_once


def mine(folder, pairs, cross_encoder=None, corpus=None, **options):
    """The rows, and what is printed."""
    data = Dataset(anchor=[anchor for anchor, _ in pairs], positive=[positive for _, positive in pairs])
    judge = None
    if cross_encoder is not None:
        judge = CrossEncoder(cross_encoder, device='cpu', model_kwargs={'dtype': torch.float32})
    printed = io.StringIO()
    package = types.SimpleNamespace(Dataset=Dataset)
    with contextlib.redirect_stdout(printed), mock.patch.dict(sys.modules, {'datasets': package}):
        mined = hard_negatives.mine_hard_negatives(
            data, open_model(folder), corpus=corpus, cross_encoder=judge, **options)
    columns = list(mined)
    rows = [dict(zip(columns, values)) for values in zip(*(mined[column] for column in columns))]
    return {'rows': [{name: plain(value) for name, value in row.items()} for row in rows], 'printed': printed.getvalue()}


def plain(value):
    return [plain(each) for each in value] if isinstance(value, list) else value.item() if isinstance(value, torch.Tensor) else value
