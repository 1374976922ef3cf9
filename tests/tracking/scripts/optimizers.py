"""Optimizers of many kinds."""

import torch
from torch import nn


class Lion(torch.optim.Optimizer):
    """Not from torch.optim."""

    def __init__(self, parameters, lr=0.01, beta=0.9):
        super().__init__(parameters, {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                average = self.state[parameter].setdefault("average", torch.zeros_like(parameter))
                average.lerp_(parameter.grad, 1 - group["beta"])
                parameter.sub_(average.sign(), alpha=group["lr"])


class Lookahead(torch.optim.Optimizer):
    """One optimizer that steps another."""

    def __init__(self, inner):
        self.inner = inner
        super().__init__(inner.param_groups, {})

    def step(self, closure=None):
        return self.inner.step(closure)


class Unset(torch.optim.Optimizer):
    """Without a learning rate of its own, and with two eps, as Adafactor."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": None, "eps": (1e-30, 1e-3), "betas": (0.9,)})

    @torch.no_grad()
    def step(self):
        for parameter in self.param_groups[0]["params"]:
            parameter.sub_(parameter.grad, alpha=0.01)


class Nothing:
    """No Optimizer at all: it cannot be seen."""

    def __init__(self, parameters):
        self.parameters = list(parameters)

    def step(self):
        with torch.no_grad():
            for parameter in self.parameters:
                parameter.sub_(parameter.grad, alpha=0.01)


def train(player, make):
    def closure():
        optimizer.zero_grad(set_to_none=True) if hasattr(optimizer, "zero_grad") else player.zero_grad()
        loss = player(x).square().mean()
        loss.backward()
        return loss

    optimizer = make(player.parameters())
    step = torch.compile(optimizer.step, backend="eager") if name == "compiled" else optimizer.step
    x = torch.randn(8, 4)
    for _ in range(3):
        if isinstance(optimizer, torch.optim.LBFGS):
            step(closure)
        else:
            closure()
            norms.setdefault(name, []).append([float(p.grad.norm()) for p in player.parameters()])
            step()


KINDS = {
    "fused": lambda parameters: torch.optim.AdamW(parameters, fused=True),
    "foreach": lambda parameters: torch.optim.AdamW(parameters, foreach=True),
    "loop": lambda parameters: torch.optim.AdamW(parameters, foreach=False),
    "lion": Lion,
    "lookahead": lambda parameters: Lookahead(torch.optim.SGD(parameters, lr=0.01)),
    "lbfgs": lambda parameters: torch.optim.LBFGS(parameters, max_iter=3),
    "unset": Unset,
    "compiled": torch.optim.Adam,
    "nothing": Nothing,
}
torch.manual_seed(0)
norms = {}
models = {name: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1)) for name in KINDS}
for name, make in KINDS.items():
    train(models[name], make)
encoder, decoder = nn.Linear(4, 2), nn.Linear(2, 4)
temperature = nn.Parameter(torch.ones(()))
optimizer = torch.optim.SGD(
    [{"params": [*encoder.parameters(), *decoder.parameters()]}, {"params": [temperature], "lr": 0.1}], lr=0.01
)
(decoder(encoder(torch.ones(2, 4))) * temperature).square().mean().backward()
optimizer.step()
picture = torch.zeros(3, requires_grad=True)
optimizer = torch.optim.Adam([picture])
(picture - 1).square().sum().backward()
optimizer.step()
weights = {f"{name}.{key}": t for name, model in models.items() for key, t in model.state_dict().items()}
