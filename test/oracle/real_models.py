"""Human similarities of gensim's test data and what real models say of them: `real_models.py MODEL GENSIM_DATA OUTPUT`.

Writes each task as JSON, for gradcache to measure, with Spearman's correlation by sentence-transformers and scipy."""
import json
import sys
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer


def lee(data):
    """Fifty news texts, and how similar people found each two of them (Lee et al. 2005)."""
    texts = (data / 'lee.cor').read_text(encoding='latin1').strip().split('\n')
    scores = np.loadtxt(data / 'similarities0-1.txt')
    rows, columns = np.triu_indices(len(texts), 1)
    return [texts[i] for i in rows], [texts[j] for j in columns], scores[rows, columns].tolist()


def words(path, score):
    lines = [line.split('\t') for line in path.read_text(encoding='utf8').splitlines() if line and not line.startswith('#')]
    pairs = [(line[0], line[1], line[score]) for line in lines]
    if not pairs[0][2].replace('.', '').isdigit():  # a header
        pairs = pairs[1:]
    return [a for a, _, _ in pairs], [b for _, b, _ in pairs], [float(value) for _, _, value in pairs]


def main(folder, data, output):
    model = SentenceTransformer(folder, device='cpu')
    result = {}
    for name, (first, second, scores) in {
        'Lee50': lee(data), 'SimLex-999': words(data / 'simlex999.txt', 2), 'WordSim-353': words(data / 'wordsim353.tsv', 2),
    }.items():
        distinct = list(dict.fromkeys([*first, *second]))
        rows = dict(zip(distinct, model.encode(distinct, normalize_embeddings=True, show_progress_bar=False).astype(np.float64)))
        found = [float(rows[a] @ rows[b]) for a, b in zip(first, second)]
        result[name] = {'first': first, 'second': second, 'scores': scores, 'spearman': float(spearmanr(found, scores).statistic)}
    Path(output).write_text(json.dumps(result), encoding='utf8')


if __name__ == '__main__':
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
