"""Small networks of the kinds that people train."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

import gradtape as gt


def mlp(*widths: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Return linear layers with an activation between them; images are flattened first."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inside, outside in pairwise(widths):
        layers += [nn.Linear(inside, outside), activation()]
    return nn.Sequential(*layers[:-1])


class Residual(nn.Module):
    """A block with layer norm and a way round it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to its input."""
        return x + self.down(self.up(self.norm(x)).relu())


def residual_mlp(blocks: int, width: int = 16, zero: bool = False) -> nn.Sequential:
    """Return a residual network; with ``zero``, its branches begin at zero."""
    middle = [Residual(width) for _ in range(blocks)]
    if zero:
        for block in middle:
            nn.init.zeros_(block.down.weight)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), *middle, nn.LayerNorm(width), nn.Linear(width, 10))


class ConvBlock(nn.Module):
    """Two convolutions with batch norm and a way round them."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(outside)
        self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        self.round = nn.Conv2d(inside, outside, 1, stride, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to its input."""
        return self.relu(self.norm2(self.second(self.relu(self.norm(self.first(x))))) + self.round(x))


def resnet(width: int = 6) -> nn.Sequential:
    """Return a residual convolutional network for images of 28x28."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, 2, 1), ConvBlock(width, width, 1), ConvBlock(width, 2 * width, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10),
    )  # fmt: skip


class Recurrent(nn.Module):
    """Reads an image row by row."""

    def __init__(self, kind: type[nn.RNNBase] = nn.GRU, width: int = 12, **settings: str) -> None:
        super().__init__()
        self.cell, self.head = kind(8, width, batch_first=True, **settings), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the classes' scores after the last row."""
        return self.head(self.cell(x.squeeze(1))[0][:, -1])


class CharModel(nn.Module):
    """A recurrent model of the next symbol."""

    def __init__(self, symbols: int = 65, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, 16)
        self.cell, self.head = nn.LSTM(16, width, batch_first=True), nn.Linear(width, symbols)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores, shape (n, symbols, length)."""
        return self.head(self.cell(self.embedding(x))[0]).transpose(1, 2)


class Attention(nn.Module):
    """A pre-norm transformer block; causal if asked."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2, self.up, self.gelu = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU()
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend, then think."""
        n, length, width = x.shape
        parts = self.qkv(self.norm(x)).view(n, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, length, width))
        return x + self.down(self.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    """A causal transformer over symbols whose output layer is its embedding (tied weights)."""

    def __init__(self, symbols: int = 65, length: int = 24, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(symbols, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Attention(width, 2, causal=True) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, symbols, bias=False)
        self.head.weight = self.token.weight
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                nn.init.normal_(
                    weight, std=0.02 / (2 * depth) ** 0.5 if name.endswith(("out.weight", "down.weight")) else 0.02
                )

    def forward(self, x: Tensor) -> Tensor:
        """Return scores, shape (n, symbols, length)."""
        hidden = self.token(x) + self.position(torch.arange(x.shape[1]))
        return self.head(self.norm(self.blocks(hidden))).transpose(1, 2)


class ViT(nn.Module):
    """A transformer over the 16 patches of an 8x8 image."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 2, 2)
        self.position = nn.Parameter(0.02 * torch.randn(16, width))
        self.blocks = nn.Sequential(*(Attention(width, 2, causal=False) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the classes' scores."""
        return self.head(self.norm(self.blocks(self.patch(x).flatten(2).transpose(1, 2) + self.position)).mean(dim=1))


class VAE(nn.Module):
    """A variational autoencoder of 8x8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.code = mlp(64, 48, 32), nn.Linear(32, 16)
        self.decoder = nn.Sequential(nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, 64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits of the pixels, and mean and log variance of the code."""
        mean, log_variance = self.code(self.encoder(x).relu()).chunk(2, dim=1)
        return self.decoder(mean + torch.randn_like(mean) * (log_variance / 2).exp()), mean, log_variance


class TwoHeads(nn.Module):
    """One trunk, two tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.first, self.second = nn.Linear(32, 10), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return both heads' outputs."""
        features = self.trunk(x)
        return self.first(features), self.second(features)


class DomainAdversarial(nn.Module):
    """A classifier whose features a critic shall not tell the domain from."""

    def __init__(self, strength: object) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        self.classifier = nn.Linear(16, 10)
        self.reversal = gt.Reverse(strength)
        self.critic = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the classes' scores and the critic's logit."""
        features = self.features(x)
        return self.classifier(features), self.critic(self.reversal(features)).squeeze(1)


class Words(nn.Module):
    """A bag of symbols: the mean of the embeddings of a window guesses the next symbol."""

    def __init__(self, symbols: int = 65, sparse: bool = False) -> None:
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(symbols * symbols, 16, mode="mean", sparse=sparse), nn.Linear(16, symbols)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the symbol after each window; pairs of symbols are the words."""
        pairs = x[:, :-1] * 65 + x[:, 1:]
        return self.head(self.bag(pairs[:, -4:]))


def conv_generator(latent: int = 16) -> nn.Sequential:
    """Return a generator of 8x8 images after DCGAN."""
    return nn.Sequential(
        nn.Linear(latent, 32 * 4), nn.Unflatten(1, (32, 2, 2)), nn.BatchNorm2d(32), nn.ReLU(),
        nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Sigmoid(),
    )  # fmt: skip


def conv_discriminator() -> nn.Sequential:
    """Return a discriminator of 8x8 images after DCGAN."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(16, 32, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(128, 1),
    )
