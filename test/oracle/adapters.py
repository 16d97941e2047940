"""Adapters by PEFT itself, alone and through sentence-transformers."""
import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer


def save_adapter(base, folder, by='sentence-transformers', seed=31, **settings):
    """An adapter of a model's folder, none of whose weights is 0, as PEFT or sentence-transformers saves it."""
    config = LoraConfig(task_type=TaskType.FEATURE_EXTRACTION, **settings)
    torch.manual_seed(seed)
    if by == 'peft':
        model = get_peft_model(AutoModel.from_pretrained(base), config)
    else:
        model = SentenceTransformer(base, device='cpu')
        model.add_adapter(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape) * 0.1)
    model.save_pretrained(folder)
    return folder


def embed_by_peft(base, folder, texts):
    """The means of the tokens by PeftModel, in float64, and the names of what is trained."""
    model = PeftModel.from_pretrained(AutoModel.from_pretrained(base), folder, is_trainable=True).double().eval()
    tokenizer = AutoTokenizer.from_pretrained(base)
    batch = tokenizer(texts, padding=True, truncation=True, return_tensors='pt')
    with torch.no_grad():
        rows = model(**batch).last_hidden_state
    mask = batch['attention_mask'].unsqueeze(-1)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return {'embeddings': ((rows * mask).sum(1) / mask.sum(1)).tolist(), 'trained': trained}
