"""Networks with everything in them that a tape must see: each comes with its inputs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

import gradtape as gt


class Around(nn.Module):
    """A function of layers."""

    def __init__(self, function: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self, *args, **kwargs)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = layer(), layer()
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu())


class Exponential(torch.autograd.Function):
    """A custom function with a derivative of its own: twice the right one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return 2 * grad * y


def layer() -> nn.Linear:
    return nn.Linear(8, 8)


def item_assignment(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    h[:, :2] = 0.5 * h[:, 2:4]
    return self.b(h)


def overwrite_through_a_view(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    h[:, :4].mul_(2.0)
    view = h.T[2:]
    view.add_(1.0)
    return self.b(h) + view.sum()


def overwrite_of_the_base(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    view = h[:, 2:6]
    h.mul_(3.0)
    return self.b(h) + view.exp().sum()


def overwrite_unseen_by_autograd(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    h.detach()[:, :2].zero_()
    return self.b(h)


def without_gradients(self: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        weights = self.a(x)
    return self.b(x) * weights


def masked(self: Any, x: Tensor) -> Tensor:
    return torch.where(x > 0, self.a(x), x).masked_fill(x < -1, 0.0)


def pieces(self: Any, x: Tensor) -> Tensor:
    return torch.cat([piece * index for index, piece in enumerate(self.a(x).chunk(4, 1))], 1)


def views(self: Any, x: Tensor) -> Tensor:
    return self.a(x).T.mT.real.contiguous().view(4, 8)[..., None].squeeze(-1)


def sorted_and_picked(self: Any, x: Tensor) -> Tensor:
    h = self.a(x)
    return h.sort(1)[0] + h.topk(3)[0].sum()


def structured(self: Any, x: Tensor) -> dict[str, Any]:
    return {"a": self.a(x), "b": (self.b(x), x.sum())}


def checkpointed(self: Any, x: Tensor) -> Tensor:
    return self.b(checkpoint(self.a, x, use_reentrant=False))


def autocast(self: Any, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return self.b(self.a(x).relu()).float()


def unet(self: Any, x: Tensor) -> Tensor:
    fine = self.down(x).relu_()
    coarse = self.deep(functional.max_pool2d(fine, 2))
    coarse = functional.interpolate(coarse, scale_factor=2, mode="bilinear")
    return self.up(torch.cat([fine, coarse], 1))


def squeezed(self: Any, x: Tensor) -> Tensor:
    h = self.depthwise(x)
    h = h * self.gate(h.mean((2, 3))).sigmoid()[:, :, None, None]
    h += x
    return functional.relu_(h)


def packed(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([3, 5])
    out, (hidden, _) = self.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    return pad_packed_sequence(out, batch_first=True)[0], hidden


def decoded_with_attention(self: Any, x: Tensor) -> Tensor:
    states, hidden = self.encoder(x)
    hidden, token, tokens = hidden[0], torch.zeros(2, 8), []
    for _ in range(3):
        hidden = self.cell(token, hidden)
        weights = torch.einsum("bh,tbh->bt", hidden, states).softmax(-1)
        token = self.out(torch.cat([hidden, torch.einsum("bt,tbh->bh", weights, states)], -1))
        tokens.append(token)
    return torch.stack(tokens)


def coupling_flow(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    volume = torch.linalg.slogdet(self.mix.weight)[1].expand(len(x))
    for net in self.nets:
        left, right = (x @ self.mix.weight).unflatten(1, (4, 2)).unbind(-1)
        scale, shift = net(left).chunk(2, 1)
        x = torch.stack([right * scale.tanh().exp() + shift, left], 2).flatten(1)
        volume = volume + scale.tanh().sum(1)
    return x, volume


def message_passing(self: Any, x: Tensor) -> Tensor:
    start, end = torch.tensor([[0, 1, 2, 3, 0], [1, 2, 3, 0, 2]])
    score = self.a(x)[start, 0] - self.a(x)[end, 1]
    largest = torch.full((4,), -9.0).scatter_reduce(0, end, score, "amax")
    weight = (score - largest[end]).exp()
    weight = weight / torch.zeros(4).index_add(0, end, weight)[end]
    return torch.zeros(4, 8).index_add_(0, end, self.b(x[start]) * weight[:, None])


def routing(self: Any, x: Tensor) -> Tensor:
    votes, logits = self.a(x).unflatten(1, (2, 4)), torch.zeros(4, 2)
    for _ in range(3):
        capsule = (logits.softmax(1)[..., None] * votes).sum(1)
        capsule = functional.normalize(capsule, dim=-1) * capsule.norm(dim=-1, keepdim=True).tanh()
        logits = logits + torch.einsum("bic,bc->bi", votes, capsule)
    return capsule


def experts(self: Any, x: Tensor) -> Tensor:
    weights, chosen = self.gate(x).softmax(-1).topk(2, -1)
    out = torch.zeros_like(x)
    for index, expert in enumerate(self.experts):
        row, place = (chosen == index).nonzero(as_tuple=True)
        out.index_add_(0, row, expert(x[row]) * weights[row, place, None])
    return out


def fourier_operator(self: Any, x: Tensor) -> Tensor:
    waves = torch.fft.rfft(x)
    mixed = torch.zeros_like(waves)
    mixed[:, :3] = waves[:, :3] * torch.view_as_complex(self.modes.weight)
    return torch.fft.irfft(mixed, n=8) + self.a(x)


def attention_of_torch(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    query, key, value = self.a(x).unflatten(-1, (3, 2, 4)).permute(2, 1, 3, 0, 4)
    attend = functional.scaled_dot_product_attention
    return attend(query, key, value, torch.ones(5, 5).tril().bool()), attend(query, key, value, is_causal=True)


def warped(self: Any, x: Tensor) -> Tensor:
    angles = self.a(x[:, 0, 0, :8])[:, :6].unflatten(1, (2, 3))
    return functional.grid_sample(x, functional.affine_grid(angles, x.shape, False), align_corners=False)


def quantiles(self: Any, x: Tensor) -> tuple[Tensor, ...]:
    h = self.a(x)
    return h.quantile(torch.tensor([0.1, 0.5]), 1), h.median(1).values, h.cummax(1).values, h.logcumsumexp(1)


def rows() -> Tensor:
    return torch.randn(4, 8)


def images() -> Tensor:
    return torch.randn(2, 3, 16, 16)


def sequences() -> Tensor:
    return torch.randn(5, 2, 8)


Inputs = tuple[tuple[Any, ...], dict[str, Any]]


def given(*args: Any, **kwargs: Any) -> Inputs:
    return args, kwargs


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Inputs]]] = {
    "mlp": lambda: (nn.Sequential(layer(), nn.ReLU(), layer()), given(rows())),
    "relu in place": lambda: (nn.Sequential(layer(), nn.ReLU(inplace=True), layer()), given(rows())),
    "batch norm": lambda: (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        given(images()),
    ),
    "batch norm, eval": lambda: (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval(), given(images())),
    "group norm": lambda: (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.SiLU(), nn.AdaptiveAvgPool2d(1)),
        given(images()),
    ),
    "instance norm": lambda: (
        nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.InstanceNorm2d(4, track_running_stats=True)),
        given(images()),
    ),
    "dropout": lambda: (nn.Sequential(layer(), nn.Dropout(0.5), layer()), given(rows())),
    "noise": lambda: (Around(lambda self, x: self.a(x + torch.randn_like(x)), a=layer()), given(rows())),
    "lstm": lambda: (nn.LSTM(8, 8), given(sequences())),
    "gru": lambda: (nn.GRU(8, 8, num_layers=2, dropout=0.3), given(sequences())),
    "rnn": lambda: (nn.RNN(8, 8), given(sequences())),
    "attention": lambda: (nn.MultiheadAttention(8, 2), given(*(sequences() for _ in range(3)))),
    "encoder layer": lambda: (nn.TransformerEncoderLayer(8, 2, 16), given(sequences())),
    "transformer": lambda: (nn.Transformer(8, 2, 1, 1, 16, batch_first=True), given(sequences(), sequences())),
    "tied weights": lambda: (Tied(), given(rows())),
    "module used twice": lambda: (Around(lambda self, x: self.a(self.a(x).tanh()), a=layer()), given(rows())),
    "structured output": lambda: (Around(structured, a=layer(), b=layer()), given(rows())),
    "nested keywords": lambda: (
        Around(lambda self, x, extra=None: self.a(x) + extra["e"][0], a=layer()),
        given(rows(), extra={"e": [rows()]}),
    ),
    "item assignment": lambda: (Around(item_assignment, a=layer(), b=layer()), given(rows())),
    "overwrite through a view": lambda: (Around(overwrite_through_a_view, a=layer(), b=layer()), given(rows())),
    "overwrite of the base": lambda: (Around(overwrite_of_the_base, a=layer(), b=layer()), given(rows())),
    "overwrite unseen by autograd": lambda: (
        Around(overwrite_unseen_by_autograd, a=layer(), b=layer()),
        given(rows()),
    ),
    "no grad": lambda: (Around(without_gradients, a=layer(), b=layer()), given(rows())),
    "detach": lambda: (
        Around(lambda self, x: self.b(self.a(x).detach() + self.a(x)), a=layer(), b=layer()),
        given(rows()),
    ),
    "custom function": lambda: (
        Around(lambda self, x: self.b(Exponential.apply(self.a(x))), a=layer(), b=layer()),
        given(rows()),
    ),
    "checkpoint": lambda: (Around(checkpointed, a=layer(), b=layer()), given(rows())),
    "autocast": lambda: (Around(autocast, a=layer(), b=layer()), given(rows())),
    "embedding": lambda: (nn.Sequential(nn.Embedding(10, 8), layer()), given(torch.randint(10, (4, 3)))),
    "pieces": lambda: (Around(pieces, a=layer()), given(rows())),
    "einsum": lambda: (Around(lambda self, x: torch.einsum("bi,bj->bij", self.a(x), x), a=layer()), given(rows())),
    "sorted": lambda: (Around(sorted_and_picked, a=layer()), given(rows())),
    "masked": lambda: (Around(masked, a=layer()), given(rows())),
    "views": lambda: (Around(views, a=layer()), given(rows())),
    "complex": lambda: (Around(lambda self, x: torch.fft.rfft(self.a(x)).abs(), a=layer()), given(rows())),
    "weight and spectral norm": lambda: (
        nn.Sequential(weight_norm(layer()), spectral_norm(layer())),
        given(rows()),
    ),
    "reversal": lambda: (nn.Sequential(layer(), gt.Reverse(0.5), layer()), given(rows())),
    "clipped gradient": lambda: (nn.Sequential(layer(), gt.Clip(0.001), layer()), given(rows())),
    "dead branch": lambda: (
        Around(lambda self, x: (self.b(x), self.a(x))[1], a=layer(), b=layer()),
        given(rows()),
    ),
    "u-net": lambda: (
        Around(unet, down=nn.Conv2d(3, 4, 3, padding=1), deep=nn.Conv2d(4, 4, 1), up=nn.Conv2d(8, 2, 1)),
        given(images()),
    ),
    "squeeze and excitation": lambda: (
        Around(squeezed, depthwise=nn.Conv2d(3, 3, 3, padding=1, groups=3), gate=nn.Linear(3, 3)),
        given(images()),
    ),
    "packed sequences": lambda: (
        Around(packed, rnn=nn.LSTM(8, 4, bidirectional=True, batch_first=True)),
        given(sequences().transpose(0, 1)),
    ),
    "decoding with attention": lambda: (
        Around(decoded_with_attention, encoder=nn.GRU(8, 8), cell=nn.GRUCell(8, 8), out=nn.Linear(16, 8)),
        given(sequences()),
    ),
    "coupling flow": lambda: (
        Around(coupling_flow, mix=layer(), nets=nn.ModuleList(nn.Linear(4, 8) for _ in range(2))),
        given(rows()),
    ),
    "message passing": lambda: (Around(message_passing, a=layer(), b=layer()), given(rows())),
    "routing": lambda: (Around(routing, a=layer()), given(rows())),
    "experts": lambda: (
        Around(experts, gate=nn.Linear(8, 3), experts=nn.ModuleList(layer() for _ in range(3))),
        given(rows()),
    ),
    "fourier operator": lambda: (Around(fourier_operator, a=layer(), modes=nn.Embedding(3, 2)), given(rows())),
    "attention of torch": lambda: (Around(attention_of_torch, a=nn.Linear(8, 24)), given(sequences())),
    "warped images": lambda: (Around(warped, a=layer()), given(images())),
    "quantiles": lambda: (Around(quantiles, a=layer()), given(rows())),
}
"""What it has in it -> a fresh network and its inputs."""

NOT_RUN_AGAIN = ("custom function", "clipped gradient")
"""Those with something in them that is no function of torch's."""
