"""Trains a network for each fold and forgets it; a folded network must not stay in memory."""

import gc
import weakref

import torch
from torch import nn


class Fold:
    def __init__(self):
        self.network = nn.Linear(3, 1)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.1)

    def train(self):
        for _ in range(3):
            self.optimizer.zero_grad()
            self.network(torch.ones(2, 3)).square().mean().backward()
            self.optimizer.step()


def fold():
    one = Fold()
    one.train()
    return weakref.ref(one), weakref.ref(one.network), weakref.ref(one.optimizer)


torch.manual_seed(0)
alive = []
for _ in range(3):
    references = fold()
    gc.collect()
    alive.append([reference() is not None for reference in references])
