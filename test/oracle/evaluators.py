"""What the evaluators of sentence-transformers measure."""
import pytrec_eval
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.cross_encoder import evaluation as of_pairs
from sentence_transformers.sentence_transformer import evaluation


def evaluators(folder, queries, documents, relevant, triplets, binary, translation, reranking, similarity):
    """Positions are ids. `relevant`: for each query its documents."""
    model = SentenceTransformer(folder, device='cpu', similarity_fn_name=similarity)
    numbered = lambda texts: {f'{place:06}': text for place, text in enumerate(texts)}
    ks = [1, 3, 10]
    cut = dict(mrr_at_k=ks, ndcg_at_k=ks, accuracy_at_k=ks, precision_recall_at_k=ks, map_at_k=ks)
    found = {
        'retrieval': evaluation.InformationRetrievalEvaluator(
            numbered(queries), numbered(documents),
            {f'{place:06}': {f'{document:06}' for document in own} for place, own in enumerate(relevant)},
            write_csv=False, **cut),
        'triplets': evaluation.TripletEvaluator(*zip(*triplets), write_csv=False),
        'binary': evaluation.BinaryClassificationEvaluator(*zip(*binary), write_csv=False),
        'reranking': evaluation.RerankingEvaluator(reranking, write_csv=False, similarity_fct=model.similarity),
    }
    if similarity == 'cosine':
        found['translation'] = evaluation.TranslationEvaluator(*translation, write_csv=False)
        found['mse'] = evaluation.MSEEvaluator(*translation, teacher_model=Reversed(model), write_csv=False)
    prefix = similarity + '_'
    return {name: {key.removeprefix(prefix): float(value) for key, value in evaluator(model).items()}
            for name, evaluator in found.items()}


class Reversed:
    """A teacher: the model's representations from the last number to the first."""

    def __init__(self, model):
        self.model = model

    def encode(self, *given, **named):
        return self.model.encode(*given, **named)[:, ::-1].copy()


def pair_evaluators(folder, pairs, scores, labels):
    model = CrossEncoder(folder, device='cpu')
    found = {
        'sts': of_pairs.CrossEncoderCorrelationEvaluator(pairs, scores, write_csv=False),
        'binary': of_pairs.CrossEncoderClassificationEvaluator(pairs, labels, write_csv=False),
    }
    return {name: {key: float(value) for key, value in evaluator(model).items()} for name, evaluator in found.items()}


def trec(judged, ranked, ks):
    """Means over the queries by trec_eval. A run that is cut has the reciprocal rank of its first k."""
    found = {}
    for k in ks:
        cut = {query: dict(sorted(scores.items(), key=lambda pair: (pair[1], pair[0]), reverse=True)[:k])
               for query, scores in ranked.items()}
        kinds = {'accuracy': f'success_{k}', 'precision': f'P_{k}', 'recall': f'recall_{k}', 'ndcg': f'ndcg_cut_{k}',
                 'map': f'map_cut_{k}', 'mrr': 'recip_rank'}
        asked = {name.replace(f'_{k}', f'.{k}') for name in kinds.values()}
        measured = pytrec_eval.RelevanceEvaluator(judged, asked).evaluate(cut)
        for kind, name in kinds.items():
            found[f'{kind}@{k}'] = sum(each[name] for each in measured.values()) / len(measured)
    return found
