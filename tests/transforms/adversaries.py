"""A domain-adversarial network, right and broken in each of the ways in which a reversal can do nothing."""

import torch
from torch import Tensor, nn

import gradtape as gt

BROKEN = ("softmax over one unit", "module with backward", "never applied", "detached feature")


class BackwardModule(nn.Module):
    """What many believe a reversal layer to be."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def backward(self, grad: Tensor) -> Tensor:
        return -grad


class Network(nn.Module):
    def __init__(self, kind: str = "right", strength: object = 0.5) -> None:
        super().__init__()
        self.kind = kind
        self.encoder = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(0.2), nn.BatchNorm1d(8))
        self.reversal = BackwardModule() if kind == "module with backward" else gt.Reverse(strength)
        self.critic = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(x)
        given = features.detach() if self.kind == "detached feature" else features
        logit = self.critic(given if self.kind == "never applied" else self.reversal(given))
        return self.head(features), logit.softmax(1) if self.kind == "softmax over one unit" else logit


def batch(n: int = 96) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    domain = torch.arange(n) % 2
    return torch.randn(n, 2, generator=random) + 1.5 * domain[:, None], domain


def network(kind: str = "right", strength: object = 0.5, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return Network(kind, strength)
