"""What the evaluators of sentence-transformers measure."""
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import evaluation


def evaluators(folder, queries, documents, relevant, triplets, binary, similarity):
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
    }
    prefix = similarity + '_'
    return {name: {key.removeprefix(prefix): float(value) for key, value in evaluator(model).items()}
            for name, evaluator in found.items()}
