"""Two networks and two optimizers, one of the networks distributed in name only, the other compiled."""

import torch
from torch import nn

torch.manual_seed(0)
netG = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
netD = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
optimizerD = torch.optim.Adam(netD.parameters(), lr=2e-3)
optimizerG = torch.optim.Adam(netG.parameters(), lr=1e-3, betas=(0.5, 0.999))
compiled = torch.compile(netD, backend="aot_eager")
criterion = nn.BCEWithLogitsLoss()
norms = {"netG": [], "netD": []}
for _ in range(4):
    real = torch.randn(16, 2)
    fake = netG(torch.randn(16, 2))
    optimizerD.zero_grad()
    loss = criterion(compiled(real), torch.ones(16, 1)) + criterion(compiled(fake.detach()), torch.zeros(16, 1))
    loss.backward()
    norms["netD"].append([float(p.grad.norm()) for p in netD.parameters()])
    optimizerD.step()
    optimizerG.zero_grad()
    criterion(compiled(fake), torch.ones(16, 1)).backward()
    norms["netG"].append([float(p.grad.norm()) for p in netG.parameters()])
    optimizerG.step()
weights = {**netG.state_dict(), **{f"D{name}": tensor for name, tensor in netD.state_dict().items()}}
