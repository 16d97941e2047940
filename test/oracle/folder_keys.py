"""The keys that transformers and sentence-transformers write to the files of a model folder, and their defaults."""
import inspect
import json
from pathlib import Path

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.base.modules.normalize import Normalize
from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from sentence_transformers.sparse_encoder.modules import SpladePooling
from transformers import AutoConfig

import models

# Where a constructor's argument is no key of its file: the path of the model, and initial weights that are no JSON.
NOT_IN_FILES = {'self', 'model_name_or_path', 'init_weight', 'init_bias'}


def config_defaults(model_types):
    """Of each model type, every key of config.json with its default."""
    return {name: AutoConfig.for_model(name).to_dict() for name in model_types}


def module_keys():
    """Of each module, every key that its file may have: those it saves, and those that its constructor takes."""
    return {
        module.__name__: sorted({*module.config_keys, *inspect.signature(module).parameters} - NOT_IN_FILES)
        for module in (Transformer, Pooling, Dense, Normalize, SpladePooling)
    }


def saved_files(folder):
    """Saves a model with all that it can be given; the content of every JSON file of it, by path."""
    models.save_sentence_transformer(
        'bert', folder, 'mean', dense=[(12, 'tanh', True)], normalize=True,
        prompts={'query': 'query: '}, default_prompt='query', max_length=20)
    model = SentenceTransformer(folder, truncate_dim=5, similarity_fn_name='dot', device='cpu')
    model.save(folder)
    paths = [path for path in Path(folder).rglob('*.json') if not path.name.startswith('tokenizer')]
    return {str(path.relative_to(folder)): json.loads(path.read_text()) for path in paths}
