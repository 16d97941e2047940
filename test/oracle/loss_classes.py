"""Loss and gradients of sentence-transformers' own loss classes, through a model."""
import torch
from safetensors.torch import save_file
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.losses.batch_hard_triplet import BatchHardTripletLossDistanceFunction
from sentence_transformers.sentence_transformer.losses.contrastive import SiameseDistanceMetric
from sentence_transformers.sentence_transformer.losses.triplet import TripletDistanceMetric
from sentence_transformers.util import SimilarityFunction

from reference import features, open_model, own_name

# Arguments that are functions in Python, by the names that the tests give them.
FUNCTIONS = {
    'TripletLoss': {'distance_metric': lambda name: getattr(TripletDistanceMetric, name)},
    'ContrastiveLoss': {'distance_metric': lambda name: getattr(SiameseDistanceMetric, name)},
    'OnlineContrastiveLoss': {'distance_metric': lambda name: getattr(SiameseDistanceMetric, name)},
    'BatchAllTripletLoss': {'distance_metric': lambda name: getattr(BatchHardTripletLossDistanceFunction, name)},
    'BatchHardTripletLoss': {'distance_metric': lambda name: getattr(BatchHardTripletLossDistanceFunction, name)},
    'BatchHardSoftMarginTripletLoss': {'distance_metric': lambda name: getattr(BatchHardTripletLossDistanceFunction, name)},
    'BatchSemiHardTripletLoss': {'distance_metric': lambda name: getattr(BatchHardTripletLossDistanceFunction, name)},
}


def make(model, loss_class, params):
    return getattr(losses, loss_class)(model, **arguments(model, loss_class, params))


def arguments(model, loss_class, params):
    functions = FUNCTIONS.get(loss_class, {})
    named = {}
    for name, value in params.items():
        if name in functions:
            value = functions[name](value)
        elif name == 'similarity_fct':
            pairs = 'Ranking' not in loss_class  # the others compare each row with its own
            value = (SimilarityFunction.to_similarity_pairwise_fn if pairs else SimilarityFunction.to_similarity_fn)(value)
        elif name == 'loss':  # another loss inside of this one
            value = make(model, value['loss_class'], value['params'])
        elif name == 'guide':  # the folder of another model
            value = open_model(value, str(next(model.parameters()).dtype).removeprefix('torch.'))
        named[name] = value
    return named


def class_gradients(folder, columns, output, loss_class, params, labels=None, dtype='float64', weights=None):
    """Gradients of every parameter of the model, without dropout, in the safetensors file `output`.

    `weights` are values of the loss's own parameters; their gradients are in the file under the names `loss.NAME`."""
    model = open_model(folder, dtype)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    loss = make(model, loss_class, params).to(getattr(torch, dtype))
    of_model = {id(p) for p in model.parameters()}
    own = {name: p for name, p in loss.named_parameters() if id(p) not in of_model and not name.startswith('guide.')}
    with torch.no_grad():
        for name, values in (weights or {}).items():
            own[name].copy_(torch.tensor(values, dtype=own[name].dtype).view_as(own[name]))
    if labels is not None:
        labels = torch.tensor(labels)
        labels = labels.to(getattr(torch, dtype)) if labels.is_floating_point() else labels
    value = loss([features(model, texts) for texts in columns], labels)
    if isinstance(value, dict):
        value = sum(value.values())
    value.backward()
    named = [(own_name(model, name), parameter) for name, parameter in model.named_parameters()]
    grads = {name: p.grad.contiguous() for name, p in named if p.grad is not None}
    grads.update({f'loss.{name}': p.grad.contiguous() for name, p in own.items()})
    save_file(grads, output)
    return {'loss': value.item(), 'file': output, 'names': sorted(grads),
            'unused': sorted(name for name, p in named if p.grad is None), 'logScaleGradient': None}
