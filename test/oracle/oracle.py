"""Answers questions about models, one JSON object a line on standard input, one a line on standard output.

Request {"id": 1, "method": "embed", "parameters": {...}}; answer {"id": 1, "result": ...} or {"id": 1, "error": traceback}.
One process serves a whole test file, so that the seconds which the imports take are paid once.

`oracle.py SOCKET` makes such processes: whoever connects gets one of its own, which has the imports behind it.
"""
import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
import warnings

warnings.filterwarnings('ignore')
os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_VERBOSITY='error', TOKENIZERS_PARALLELISM='false', HF_HUB_DISABLE_TELEMETRY='1')
answers = os.fdopen(os.dup(1), 'w', encoding='utf8')
listener = None
if len(sys.argv) > 1:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(64)
    print('listening', file=answers, flush=True)
os.dup2(2, 1)  # whatever a library prints goes to standard error, not between the answers

import torch  # noqa: E402
import transformers  # noqa: E402
import sentence_transformers  # noqa: E402
import adapters  # noqa: E402
import cross_encoders  # noqa: E402
import evaluators  # noqa: E402
import folder_keys  # noqa: E402
import hard_negatives  # noqa: E402
import head_modules  # noqa: E402
import language  # noqa: E402
import loss_classes  # noqa: E402
import late_interaction  # noqa: E402
import models  # noqa: E402
import older_late_interaction  # noqa: E402
import pictures  # noqa: E402
import onnx_graphs  # noqa: E402
import reference  # noqa: E402
import sparse  # noqa: E402
import sru_layers  # noqa: E402
from wide import wide  # noqa: E402

transformers.utils.logging.disable_progress_bar()

# Losses cast labels to float32, and some releases of torch do not differentiate the squared error of two types.
squared_error = torch.nn.functional.mse_loss
torch.nn.functional.mse_loss = lambda found, wanted, *rest, **named: squared_error(found, wanted.to(found.dtype), *rest, **named)


def versions():
    return {'python': sys.version.split()[0], 'torch': torch.__version__, 'transformers': transformers.__version__,
            'sentence-transformers': sentence_transformers.__version__}


METHODS = {
    'versions': versions,
    'save_transformer': models.save_transformer,
    'save_masked_lm': models.save_masked_lm,
    'save_sentence_transformer': models.save_sentence_transformer,
    'sentences': models.sentences,
    'save_adapter': adapters.save_adapter,
    'embed_by_peft': adapters.embed_by_peft,
    'save_language_model': sparse.save_language_model,
    'save_sparse_encoder': sparse.save_sparse_encoder,
    'embed_sparse': wide(sparse.embed_sparse),
    'splade_gradients': wide(sparse.splade_gradients),
    'embed': wide(reference.embed),
    'gradients': wide(reference.gradients),
    'layer_rows': wide(reference.layer_rows),
    'class_gradients': loss_classes.class_gradients,
    'dropout_moments': wide(reference.dropout_moments),
    'save_multi_vector': late_interaction.save_multi_vector,
    'save_older': older_late_interaction.save_older,
    'embed_tokens': late_interaction.embed_tokens,
    'multi_vector_gradients': late_interaction.multi_vector_gradients,
    'sru_gradients': sru_layers.sru_gradients,
    'language_gradients': language.language_gradients,
    'save_cross_encoder': cross_encoders.save_cross_encoder,
    'pair_scores': wide(cross_encoders.pair_scores),
    'transformers_logits': cross_encoders.transformers_logits,
    'reranking': cross_encoders.reranking,
    'mine': hard_negatives.mine,
    'evaluators': evaluators.evaluators,
    'pair_evaluators': evaluators.pair_evaluators,
    'trec': evaluators.trec,
    'pair_gradients': cross_encoders.pair_gradients,
    'save_with_modules': head_modules.save_with_modules,
    'save_model2vec': head_modules.save_model2vec,
    'save_router': head_modules.save_router,
    'pickle_weights': head_modules.pickle_weights,
    'encode': head_modules.encode,
    'config_defaults': folder_keys.config_defaults,
    'module_keys': folder_keys.module_keys,
    'save_picture': pictures.save_picture,
    'save_picture_model': pictures.save_picture_model,
    'pixel_values': pictures.pixel_values,
    'picture_features': wide(pictures.picture_features),
    'picture_gradients': wide(pictures.picture_gradients),
    'picture_scores': wide(pictures.picture_scores),
    'saved_files': folder_keys.saved_files,
    'run_graph': onnx_graphs.run_graph,
}


def answer(line):
    request = json.loads(line)
    try:
        return {'id': request['id'], 'result': METHODS[request['method']](**request['parameters'])}
    except Exception:  # the asking side shows it
        return {'id': request['id'], 'error': traceback.format_exc()}


def serve(requests, answers):
    for line in requests:
        answers.write(json.dumps(answer(line)) + '\n')
        answers.flush()


def serve_forks():
    """Until standard input ends, which whoever started this holds open."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    gc.freeze()  # pages that no collector touches are shared
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            with connection.makefile('r', encoding='utf8') as requests, connection.makefile('w', encoding='utf8') as answers:
                serve(requests, answers)
            os._exit(0)
        connection.close()


if __name__ == '__main__':
    if listener is None:
        serve(sys.stdin, answers)
    else:
        serve_forks()
