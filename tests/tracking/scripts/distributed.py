"""One training three ways: alone, distributed, fully sharded. Each process has its share of the batch."""

import os
import sys
import warnings

warnings.simplefilter("ignore")

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(5, 7)  # seven rows on two processes: shards of four and three
        self.last = nn.Linear(7, 1)

    def forward(self, x):
        return self.last(self.first(x).relu())


def train(way, rank, processes):
    torch.manual_seed(0)
    net = Net()
    x = torch.randn(6, 16, 5)
    if way == "sharded":
        for layer in (net.first, net.last):
            fully_shard(layer)
        fully_shard(net)
    model = DistributedDataParallel(net) if way == "ddp" else net
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    for batch in x:
        optimizer.zero_grad()
        model(batch[rank::processes]).square().mean().backward()
        optimizer.step()


if "RANK" in os.environ:
    dist.init_process_group("gloo")
    train("ddp", dist.get_rank(), dist.get_world_size())
    train("sharded", dist.get_rank(), dist.get_world_size())
    line = " ".join([f"rank {dist.get_rank()} of {dist.get_world_size()}", *sys.argv[1:]])
    sys.stdout.write(line + "\n")  # in one piece: processes share the pipe
    dist.destroy_process_group()
else:
    train("alone", 0, 1)
