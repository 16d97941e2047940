"""Makes fixtures/golden.json: what torch.optim.AdamW, torch.optim.RAdam and torch.nn.utils.clip_grad_norm_ do to a few small tensors.

    python3 test/optim/golden.py
"""

import json
import pathlib

import torch


def run(name, dtype, steps, max_norm=None, optimizer="AdamW", **settings):
    """Two groups: weights that decay and a bias that does not, with its own learning rate."""
    torch.manual_seed(7)
    weight = torch.randn(3, 4, dtype=dtype).requires_grad_()
    bias = torch.randn(5, dtype=dtype).requires_grad_()
    decay = settings.pop("weight_decay", 0.01)
    lr = settings.pop("lr", 1e-2)
    groups = [
        {"params": [weight], "weight_decay": decay, "lr": lr},
        {"params": [bias], "weight_decay": 0.0, "lr": lr * 0.5},
    ]
    kind = optimizer
    if kind == "AdamW":
        optimizer = torch.optim.AdamW(groups, lr=lr, fused=False, **settings)
    else:
        optimizer = torch.optim.RAdam(groups, lr=lr, decoupled_weight_decay=True, **settings)
    case = {
        "optimizer": kind,
        "name": name,
        "dtype": str(dtype).removeprefix("torch."),
        "lr": lr,
        "weightDecay": decay,
        "maxGradNorm": max_norm,
        "betas": list(settings.get("betas", (0.9, 0.999))),
        "eps": settings.get("eps", 1e-8),
        "start": [weight.flatten().tolist(), bias.tolist()],
        "steps": [],
    }
    for step in range(steps):
        gradients = [torch.randn(3, 4, dtype=dtype) * 3, torch.randn(5, dtype=dtype) * 3]
        weight.grad = gradients[0].clone()
        # In one step the bias has no gradient: neither it nor its state may change.
        bias.grad = None if step == 2 else gradients[1].clone()
        norm = torch.nn.utils.clip_grad_norm_([weight, bias], max_norm if max_norm is not None else float("inf"))
        optimizer.step()
        case["steps"].append(
            {
                "gradients": [gradients[0].flatten().tolist(), None if bias.grad is None else gradients[1].tolist()],
                "norm": norm.item(),
                "parameters": [weight.flatten().tolist(), bias.tolist()],
            }
        )
    return case


cases = [
    run("defaults", torch.float32, 5),
    run("clipped", torch.float32, 5, max_norm=1.0, lr=3e-2),
    run("own betas, epsilon and decay", torch.float32, 5, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.2),
    run("float64", torch.float64, 5, max_norm=2.0),
    run("defaults", torch.float32, 9, optimizer="RAdam"),
    run("own betas, epsilon and decay", torch.float32, 9, optimizer="RAdam", betas=(0.8, 0.95), eps=1e-6, weight_decay=0.2),
    run("a short mean of squares", torch.float32, 9, optimizer="RAdam", betas=(0.8, 0.5), weight_decay=0.0),
    run("float64", torch.float64, 9, optimizer="RAdam", max_norm=2.0),
]
path = pathlib.Path(__file__).parent / "fixtures" / "golden.json"
path.write_text(json.dumps({"torch": torch.__version__, "cases": cases}) + "\n")
print(path, path.stat().st_size, "bytes")
