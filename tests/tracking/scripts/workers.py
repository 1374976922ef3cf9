"""Workers of a DataLoader by fork and by spawn, a pickled class of the script, and a child that trains by itself."""

import multiprocessing
import os
import pickle
import sys

import torch
from torch import nn


class Squares(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.full((3,), float(index**2))


class Net(nn.Linear):
    pass


def train(net, steps):
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4)
    for _ in range(steps):
        for method in ("fork", "spawn"):
            batches = torch.utils.data.DataLoader(Squares(), 4, num_workers=1, multiprocessing_context=method)
            for batch in batches:
                optimizer.zero_grad()
                net(batch).square().mean().backward()
                print(method, os.getpid() != os.getppid(), f"{net.weight.grad.norm():.4f}")
                optimizer.step()


def child(net):
    train_alone = torch.optim.SGD(net.parameters(), lr=1e-4)
    net(torch.ones(1, 3)).sum().backward()
    train_alone.step()
    print("a child trained")


if __name__ == "__main__":
    torch.manual_seed(0)
    net = pickle.loads(pickle.dumps(Net(3, 1)))
    train(net, 1)
    sys.stdout.flush()
    process = multiprocessing.get_context("fork").Process(target=child, args=(net,))
    process.start()
    process.join()
    sys.stdout.flush()
    if not os.fork():
        print("a fork exits")
        sys.exit(5)
    os.wait()
    print(type(net).__module__, sys.argv[1:], __name__, os.path.basename(__file__), __spec__)
