"""A loop in a function: prints the norm of each gradient at each step."""

import sys

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.last = nn.Linear(8, 1)

    def forward(self, x):
        return self.last(self.first(x).relu())


def train(steps):
    network = Net()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        network(torch.randn(16, 4)).square().mean().backward()
        print(*[f"{parameter.grad.norm():.6e}" for parameter in network.parameters()])
        optimizer.step()
    return network.state_dict()


torch.manual_seed(0)
if __name__ == "__main__":
    weights = train(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
