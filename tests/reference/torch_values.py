"""What PyTorch computes: layers, losses and optimizers, forward and backward, in float64.

Run with PyTorch installed, it writes ``torch.safetensors`` beside itself, which the tests read:

    python tests/reference/torch_values.py

A case ``NAME`` has its inputs ``NAME/in/0``, ..., its parameters under PyTorch's names
``NAME/param/weight``, its output ``NAME/out``, weights of it ``NAME/ct``, and the gradients
of the weighted sum ``NAME/grad/in/0`` and ``NAME/grad/param/weight``.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

PATH = Path(__file__).parent / "torch.safetensors"
Arrays = dict[str, np.ndarray[Any, Any]]


def case(found: Arrays, name: str, module: Any, *inputs: Any) -> None:
    """Forward and backward values of a module or function."""
    xs = [torch.tensor(x) for x in inputs]
    for x in xs:
        x.requires_grad_(x.dtype.is_floating_point)
    parameters = dict(module.named_parameters()) if isinstance(module, nn.Module) else {}
    buffers = dict(module.named_buffers()) if isinstance(module, nn.Module) else {}
    state = {**parameters, **buffers}
    found |= {f"{name}/param/{k}": v.detach().numpy().copy() for k, v in state.items()}
    y = module(*xs)
    y = y[0] if isinstance(y, tuple) else y
    ct = torch.tensor(np.random.default_rng(len(name)).normal(size=tuple(y.shape)))
    (y * ct).sum().backward()
    found |= {f"{name}/in/{i}": x.detach().numpy() for i, x in enumerate(xs)}
    found[f"{name}/out"], found[f"{name}/ct"] = y.detach().numpy(), ct.numpy()
    for i, x in enumerate(xs):
        if x.grad is not None:
            found[f"{name}/grad/in/{i}"] = x.grad.numpy()
    found |= {f"{name}/grad/param/{k}": v.grad.numpy() for k, v in parameters.items()}
    found |= {f"{name}/after/{k}": v.numpy().copy() for k, v in buffers.items()}


def shaken(module: Any) -> Any:
    """The module in float64, with no parameter left at 0 or 1."""
    module = module.double()
    for p in module.parameters():
        p.data += 0.3 * torch.randn_like(p)
    return module


def layers(found: Arrays) -> None:
    rng = np.random.default_rng(0)
    sequence = rng.normal(size=(2, 5, 3))
    for name, make in (("rnn", nn.RNN), ("gru", nn.GRU), ("lstm", nn.LSTM)):
        module = shaken(make(3, 4, num_layers=2, bidirectional=True, batch_first=True))
        case(found, name, module, sequence)
    case(found, "linear", shaken(nn.Linear(3, 2)), rng.normal(size=(4, 3)))
    case(found, "embedding", shaken(nn.Embedding(6, 3)), np.array([[1, 5, 1], [0, 2, 2]]))
    case(found, "layer_norm", shaken(nn.LayerNorm(4)), rng.normal(size=(2, 3, 4)))
    case(found, "rms_norm", shaken(nn.RMSNorm(4)), rng.normal(size=(2, 3, 4)))
    case(found, "group_norm", shaken(nn.GroupNorm(2, 4)), rng.normal(size=(2, 4, 3)))
    case(found, "batch_norm", shaken(nn.BatchNorm1d(3)), rng.normal(size=(4, 3, 2)))
    image = rng.normal(size=(2, 4, 6, 5))
    case(found, "conv2d", shaken(nn.Conv2d(4, 6, 3, 2, 1, groups=2)), image)
    up = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2)
    case(found, "conv_transpose2d", shaken(up), image)
    up = nn.ConvTranspose1d(4, 3, 2, stride=3)
    case(found, "conv_transpose1d", shaken(up), rng.normal(size=(2, 4, 5)))
    case(found, "adaptive_mean", nn.AdaptiveAvgPool2d((4, 2)), image)
    case(found, "adaptive_max", nn.AdaptiveMaxPool2d((4, 2)), image)
    case(found, "mean_pool", nn.AvgPool2d(3, 2, 1), image)
    for order in (True, False):
        block = nn.TransformerEncoderLayer(
            4, 2, 8, dropout=0.0, activation="gelu", batch_first=True, norm_first=order
        )
        case(found, f"block_{order}", shaken(block), rng.normal(size=(2, 5, 4)))


def losses(found: Arrays) -> None:
    rng = np.random.default_rng(1)
    a, b = 2 * rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    signs, classes = np.sign(b), np.array([0, 2, 1, 1])
    probabilities = rng.dirichlet(np.ones(3), size=4)
    case(found, "huber", lambda x, y: F.huber_loss(x, y, delta=0.7), a, b)
    case(found, "kl", lambda x, y: F.kl_div(x.log_softmax(-1), y, reduction="batchmean"), a,
         probabilities)  # fmt: skip
    case(found, "multi_margin", F.multi_margin_loss, a, classes)
    case(found, "hinge", lambda x, y: torch.clamp(1 - x * y, min=0).mean(), a, signs)
    ctc_targets = np.array([[1, 2, 2], [3, 1, 0], [2, 0, 0]])
    lengths = np.array([6, 5, 3]), np.array([3, 2, 0])

    def ctc(x: Any) -> Any:
        inputs, targets = (torch.tensor(n) for n in lengths)
        rows = x.log_softmax(-1).transpose(0, 1)
        return F.ctc_loss(rows, torch.tensor(ctc_targets), inputs, targets)

    case(found, "ctc", ctc, rng.normal(size=(3, 6, 4)))


def optimizers(found: Arrays) -> None:
    optim = torch.optim
    makers: dict[str, Callable[[Any], Any]] = {
        "sgd": lambda p: optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.05),
        "nesterov": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
        "adam": lambda p: optim.Adam(p, 0.1),
        "adamw": lambda p: optim.AdamW(p, 0.1, weight_decay=0.3),
        "rmsprop": lambda p: optim.RMSprop(p, 0.05, alpha=0.9, momentum=0.5),
        "rmsprop_centered": lambda p: optim.RMSprop(p, 0.05, alpha=0.9, centered=True),
        "adagrad": lambda p: optim.Adagrad(p, 0.2, initial_accumulator_value=0.1),
        "adafactor": lambda p: optim.Adafactor(p, 0.1, weight_decay=0.2),
        "muon": lambda p: optim.Muon(p, 0.1, weight_decay=0.2, adjust_lr_fn="original"),
    }
    rng = np.random.default_rng(2)
    start, gradients = rng.normal(size=(3, 4)), rng.normal(size=(6, 3, 4))
    found["optimizer/start"], found["optimizer/gradients"] = start, gradients
    for name, make in makers.items():
        p = nn.Parameter(torch.tensor(start))
        optimizer, path = make([p]), []
        for gradient in gradients:
            p.grad = torch.tensor(gradient)
            optimizer.step()
            path.append(p.detach().numpy().copy())
        found[f"optimizer/{name}"] = np.stack(path)


def schedules(found: Arrays) -> None:
    lr = torch.optim.lr_scheduler
    makers: dict[str, Callable[[Any], Any]] = {
        "cosine": lambda o: lr.CosineAnnealingLR(o, 10, eta_min=0.01),
        "one_cycle": lambda o: lr.OneCycleLR(o, 1.0, total_steps=12),
        "steps": lambda o: lr.StepLR(o, 3, gamma=0.5),
        "exponential": lambda o: lr.ExponentialLR(o, 0.8),
    }
    for name, make in makers.items():
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
        schedule, rates = make(optimizer), []
        for _ in range(11):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        found[f"schedule/{name}"] = np.array(rates)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
    plateau = lr.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    values, rates = [5.0, 4.0, 4.0, 4.0, 4.0, 3.0, 3.0, 3.0, 3.0], []
    for value in values:
        plateau.step(value)
        rates.append(optimizer.param_groups[0]["lr"])
    found["schedule/plateau"], found["schedule/plateau_values"] = np.array(rates), np.array(values)


def computed() -> Arrays:
    """All cases, the same in each run."""
    torch.manual_seed(0)
    found: Arrays = {}
    for part in (layers, losses, optimizers, schedules):
        part(found)
    return {name: np.array(array, order="C") for name, array in found.items()}


if __name__ == "__main__":
    from safetensors.numpy import save_file

    save_file(computed(), PATH, {"made by": f"PyTorch {torch.__version__}"})
    sys.stdout.write(f"wrote {PATH.name}: {len(computed())} arrays\n")
