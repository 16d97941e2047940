"""Models with pictures by transformers itself."""
import json
import os

import numpy
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import (
    AutoModel, AutoTokenizer, CLIPConfig, CLIPImageProcessorPil, CLIPModel, SiglipConfig, SiglipImageProcessorPil, SiglipModel,
    ViTConfig, ViTImageProcessorPil, ViTModel,
)

import models

SIZES = dict(hidden_size=36, intermediate_size=50, num_hidden_layers=2, num_attention_heads=3)
VISION = dict(SIZES, image_size=32, patch_size=8)
PROCESSORS = {'clip': CLIPImageProcessorPil, 'siglip': SiglipImageProcessorPil, 'vit': ViTImageProcessorPil}


def save_picture(path, width, height, seed, mode='RGB'):
    """A picture with noise and edges; the ending of the path says in which format."""
    generator = numpy.random.default_rng(seed)
    points = generator.integers(0, 256, (height, width, 4), dtype=numpy.uint8)
    points[: height // 2, : width // 3] = (250, 3, 128, 77)
    Image.fromarray(points, 'RGBA').convert(mode).save(path)
    return path


def save_picture_model(kind, folder, processor=None):
    """A tiny folder with what prepares pictures, and for two towers a tokenizer whose words end with its last token."""
    torch.manual_seed(4)
    tokenizer = models.wordpiece(models.BRACKETS)
    text = dict(SIZES, hidden_size=24, max_position_embeddings=20, vocab_size=tokenizer.get_vocab_size(), eos_token_id=3, pad_token_id=0)
    if kind == 'vit':
        model = ViTModel(ViTConfig(**VISION, hidden_dropout_prob=0.1))
    elif kind == 'clip':
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=14))
    else:
        model = SiglipModel(SiglipConfig(text_config=dict(text, hidden_size=36, projection_size=36), vision_config=VISION))
    models.disturb(model, 4)
    model.save_pretrained(folder)
    square = dict(size={'height': 32, 'width': 32})
    default = dict(size={'shortest_edge': 32}, crop_size={'height': 32, 'width': 32}) if kind == 'clip' else square
    PROCESSORS[kind](**{**default, **(processor or {})}).save_pretrained(folder)
    if kind != 'vit':
        models.save_tokenizer(tokenizer, models.BRACKETS, 20, folder)
    return folder


def prepared(folder, paths, dtype=torch.float32):
    with open(os.path.join(folder, 'config.json'), encoding='utf8') as file:
        kind = json.load(file)['model_type'].split('_')[0]
    processor = PROCESSORS[kind].from_pretrained(folder)
    pictures = [Image.open(path).convert('RGB') for path in paths]
    if dtype == torch.float32:
        return processor(images=pictures, return_tensors='pt')['pixel_values']
    # transformers computes in float32: with the model in float64, the same by hand.
    points = processor(images=pictures, return_tensors='pt', do_rescale=False, do_normalize=False)['pixel_values'].to(dtype)
    mean, deviation = (torch.tensor(each, dtype=dtype).view(1, 3, 1, 1) for each in (processor.image_mean, processor.image_std))
    return (points * processor.rescale_factor - mean) / deviation


def pixel_values(folder, paths):
    return prepared(folder, paths).double().tolist()


def features(model, kind, folder, paths, texts):
    pixels = prepared(folder, paths, model.dtype)
    if kind == 'vit':
        return model(pixel_values=pixels).last_hidden_state[:, 0], None
    tokenizer = AutoTokenizer.from_pretrained(folder)
    padding = {'padding': 'max_length', 'max_length': 20} if kind == 'siglip' else {'padding': True, 'max_length': 20}
    ids = tokenizer(texts, truncation=True, return_tensors='pt', **padding)['input_ids']
    images, captions = model.get_image_features(pixel_values=pixels), model.get_text_features(input_ids=ids)
    return tuple(each if torch.is_tensor(each) else each.pooler_output for each in (images, captions))


def picture_features(folder, paths, texts=(), dtype='float64'):
    model = AutoModel.from_pretrained(folder).to(getattr(torch, dtype)).eval()
    with torch.no_grad():
        images, captions = features(model, model.config.model_type, folder, paths, list(texts) or ['cat'])
    scale = getattr(model, 'logit_scale', None)
    return {'images': images.tolist(), 'captions': None if captions is None else captions.tolist(),
            'scale': None if scale is None else scale.item()}


def picture_gradients(folder, paths, texts, output, temperature=0.1):
    """Gradients of a symmetric InfoNCE of pictures and captions in float64, without dropout."""
    model = AutoModel.from_pretrained(folder).double().eval()
    images, captions = features(model, model.config.model_type, folder, paths, texts)
    scores = torch.nn.functional.normalize(images) @ torch.nn.functional.normalize(captions).T / temperature
    own = torch.arange(len(paths))
    loss = (torch.nn.functional.cross_entropy(scores, own) + torch.nn.functional.cross_entropy(scores.T, own)) / 2
    loss.backward()
    named = dict(model.named_parameters())
    save_file({name: p.grad.contiguous().clone() for name, p in named.items() if p.grad is not None}, output)
    return {'loss': loss.item(), 'file': output, 'names': sorted(named),
            'unused': sorted(name for name, p in named.items() if p.grad is None), 'logScaleGradient': None}


def picture_scores(folder, paths, texts):
    """What the model itself makes of pictures and captions: the scores of all pairs, and its loss where each has its own."""
    model = AutoModel.from_pretrained(folder).double().eval()
    kind = model.config.model_type
    padding = {'padding': 'max_length', 'max_length': 20} if kind == 'siglip' else {'padding': True, 'max_length': 20}
    ids = AutoTokenizer.from_pretrained(folder)(texts, truncation=True, return_tensors='pt', **padding)['input_ids']
    with torch.no_grad():
        output = model(input_ids=ids, pixel_values=prepared(folder, paths, torch.float64), return_loss=True)
    return {'scores': output.logits_per_image.tolist(), 'loss': output.loss.item()}
