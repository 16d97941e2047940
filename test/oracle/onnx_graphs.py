"""Exported graphs, checked by onnx and run by onnxruntime."""
import numpy as np
import onnx
import onnxruntime

_sessions = {}


def _session(path):
    if path not in _sessions:
        onnx.checker.check_model(path, full_check=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        _sessions[path] = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    return _sessions[path]


def run_graph(path, ids, types=None, side='right', outputs=None):
    """The outputs (all, or those that are named) for token ids, padded at one side by token 0; of an output for each token, the texts' own tokens alone."""
    session = _session(path)
    longest = max(map(len, ids))

    def padded(rows, fill=0):
        pads = [[fill] * (longest - len(row)) for row in rows]
        return np.array([row + pad if side == 'right' else pad + row for row, pad in zip(rows, pads)], dtype=np.int64)

    feeds = {'input_ids': padded(ids), 'attention_mask': padded([[1] * len(row) for row in ids])}
    inputs = [each.name for each in session.get_inputs()]
    if 'token_type_ids' in inputs:
        feeds['token_type_ids'] = padded(types or [[0] * len(row) for row in ids])
    names = outputs or [each.name for each in session.get_outputs()]
    results = {}
    for name, values in zip(names, session.run(names, feeds)):
        if values.ndim == 3:
            values = np.concatenate([values[row, feeds['attention_mask'][row] == 1] for row in range(len(ids))])
        results[name] = values.ravel().tolist()
    return {'inputs': inputs, 'outputs': results}
