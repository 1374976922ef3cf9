"""Copies, averages, saves and loads what it trains, in the middle of it; a warning is an error."""

import copy
import io
import pickle
import warnings

import torch
from torch import nn

warnings.simplefilter("error")
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
optimizer = torch.optim.Adam(net.parameters())
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
average = None
kept = []
for _ in range(4):
    optimizer.zero_grad()
    net(torch.randn(5, 3)).square().mean().backward()
    optimizer.step()
    scheduler.step()
    average = average or torch.optim.swa_utils.AveragedModel(net)
    average.update_parameters(net)
    twin, other = copy.deepcopy(net), copy.deepcopy(optimizer)
    buffer = io.BytesIO()
    torch.save({"net": net, "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, buffer)
    stored = pickle.dumps(net) + pickle.dumps(twin) + pickle.dumps(other)
    kept.append((b"gradtape" in buffer.getvalue() + stored, len(pickle.dumps(optimizer)), len(vars(net))))
    twin(torch.randn(5, 3)).sum().backward()
loaded = torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)["net"]
weights = {**net.state_dict(), **{f"mean.{name}": tensor for name, tensor in average.state_dict().items()}}
same = all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), net.state_dict().values(), strict=True))
