"""Gradients that are known beforehand: accumulated, clipped, scaled, tied, absent."""

import torch
from torch import nn

torch.manual_seed(0)


class Weight(nn.Module):
    """Its gradient is whatever it is called with."""

    def __init__(self, like=None):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1)) if like is None else like

    def forward(self, x):
        return (self.weight * x).sum()


def accumulated(steps=3):
    accumulating = Weight()
    optimizer = torch.optim.SGD(accumulating.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        for part in (1.0, 2.0, 3.0):
            accumulating(part).backward()
        optimizer.step()


def clipped(steps=3):
    clipping = Weight()
    optimizer = torch.optim.SGD(clipping.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        clipping(9.0).backward()
        nn.utils.clip_grad_norm_(clipping.parameters(), 1.0)
        optimizer.step()


def scaled(steps=3):
    scaling = Weight()
    optimizer = torch.optim.SGD(scaling.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    for _ in range(steps):
        optimizer.zero_grad()
        scaler.scale(scaling(2.0)).backward()
        scaler.step(optimizer)
        scaler.update()


def half(kind):
    halved = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(halved.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0, enabled=kind == torch.float16)
    norms = []
    for _ in range(3):
        optimizer.zero_grad()
        with torch.autocast("cpu", kind):
            loss = halved(torch.randn(8, 4)).float().square().mean()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        norms.append([float(p.grad.norm()) for p in halved.parameters()])
        scaler.step(optimizer)
        scaler.update()
    return norms


def tied():
    weight = nn.Parameter(torch.ones(1))
    tying = nn.ModuleDict({"encoder": Weight(weight), "decoder": Weight(weight), "unused": Weight()})
    optimizer = torch.optim.SGD(tying.parameters(), lr=0.01)
    optimizer.zero_grad()
    (tying["encoder"](2.0) + tying["decoder"](3.0)).backward()
    optimizer.step()


accumulated()
clipped()
scaled()
norms = {"halved": half(torch.bfloat16), "halved-2": half(torch.float16)}
tied()
