"""Failures planted in healthy trainings: what must be said, of which layer, and from when on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from benchmarks.calibration import games, healthy
from benchmarks.calibration.data import Batch, digits, rows
from benchmarks.calibration.healthy import Make
from benchmarks.calibration.training import Game, Losses, Trainee
from torch import Tensor, nn

import gradtape as gt
from gradtape.games import LOSSES
from gradtape.tracking import Finding

Plant = Callable[[Trainee, int], None]


class Failure(NamedTuple):
    """A failure.

    Attributes:
        twin: The healthy training in which it is planted.
        plant: ``plant(training, since)``, called before each step from ``at`` on; ``since`` counts from 0.
        rule: The rule that must speak.
        where: What its finding must name first: one of these. Paths of parameters may be cut at a dot.
        at: The step before which it is planted; 0 is before the first.
        within: How many steps later the finding may begin at most; before ``at`` it never may.
        steps: Length of the run.
        player: Whose finding it must be.
    """

    twin: Make
    plant: Plant
    rule: str
    where: tuple[str, ...]
    at: int = 0
    within: int = 0
    steps: int = 250
    player: str = "model"

    def right(self, finding: Finding) -> bool:
        """Whether a finding says what it must."""
        first = finding.where.split(",")[0].split(" and ")[0]
        named = any(first == place or first.startswith(place + ".") for place in self.where)
        dated = self.at <= finding.since_step <= self.at + self.within
        return (finding.rule, finding.player) == (self.rule, self.player) and named and dated


def once(change: Callable[[Trainee], None]) -> Plant:
    """Plant a change that stays."""

    def plant(training: Trainee, since: int) -> None:
        if since == 0:
            change(training)

    return plant


def rate(factor: float, player: str = "model") -> Plant:
    """Multiply the learning rate from there on."""

    def plant(training: Trainee, since: int) -> None:
        if since == 0:
            training.schedules = []  # a game has none: it multiplies on from what is there
            for group in training.optimizers[player].param_groups:
                group["lr"] *= factor

    return plant


def growing_rate(growth: float) -> Plant:
    """Let the learning rate grow at every step; the training's own schedule ends."""

    def plant(training: Trainee, since: int) -> None:
        training.schedules = []
        for group in training.optimizers["model"].param_groups:
            group["lr"] *= growth

    return plant


def growing_weight(name: str, growth: float) -> Plant:
    """Let a weight grow at every step."""

    def plant(training: Trainee, since: int) -> None:
        training.parameter(name).mul_(growth)

    return plant


def times(factor: float, *names: str) -> Plant:
    """Multiply weights once."""

    def change(training: Trainee) -> None:
        for name in names:
            training.parameter(name).mul_(factor)

    return once(change)


def filled(value: float, name: str, share: float = 1.0) -> Plant:
    """Fill the first rows of a parameter once."""

    def change(training: Trainee) -> None:
        data = training.parameter(name)
        data[: round(share * len(data))] = value

    return once(change)


def loss_scale(factor: float) -> Plant:
    """Multiply the loss."""
    return once(lambda training: setattr(training, "scale", factor))


def inputs(change: Callable[[Tensor], Tensor], steps: int | None = None) -> Plant:
    """Change the inputs of ``steps`` batches, or of all from there on."""

    def plant(training: Trainee, since: int) -> None:
        if since == 0:
            training.sound = training.draw
            training.draw = lambda: (change((batch := training.sound())[0]), *batch[1:])
        if since == steps:
            training.draw = training.sound

    return plant


def with_nan(x: Tensor) -> Tensor:
    """Put a NaN into the second sample."""
    spoilt = x.clone()
    spoilt[1].view(-1)[0] = torch.nan
    return spoilt


def optimizer_without(prefix: str) -> Plant:
    """Leave a block out of the optimizer, as when it is made before the block is."""

    def change(training: Trainee) -> None:
        old = training.optimizers["model"]
        held = [p for name, p in training.models["model"].named_parameters() if not name.startswith(prefix)]
        training.optimizer = type(old)(held, **{key: old.defaults[key] for key in ("lr",)})
        training.schedules = []

    return once(change)


def detached(name: str) -> Plant:
    """Cut the graph at the output of a module."""
    return once(
        lambda training: training.models["model"].get_submodule(name).register_forward_hook(lambda *a: a[-1].detach())
    )


class _Spoil(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:  # type: ignore[override]
        spoilt = grad.clone()
        spoilt[0, 0] = torch.nan
        return spoilt


def nan_backward(name: str) -> Plant:
    """Let a NaN into the gradient that comes back to a module's output, at one step; the loss is healthy."""
    handles = []

    def plant(training: Trainee, since: int) -> None:
        if since == 0:
            module = training.models["model"].get_submodule(name)
            handles.append(module.register_forward_hook(lambda *a: _Spoil.apply(a[-1])))
        elif since == 1:
            handles.pop().remove()

    return plant


def new_loss(loss: Callable[[nn.Module, Batch], Losses]) -> Plant:
    """Train on another loss."""
    return once(lambda training: setattr(training, "loss", loss))


def first_head_only(model: nn.Module, batch: Batch) -> Tensor:
    """Return the loss of one of two heads."""
    return nn.functional.cross_entropy(model(batch[0])[0], batch[1])


def opposed(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Return two losses of which one wants what the other does not: the labels of the second are turned round."""
    both = sum(model(batch[0]))
    return {
        "right": nn.functional.cross_entropy(both, batch[1]),
        "wrong": nn.functional.cross_entropy(both, (batch[1] + 1) % 10),
    }


def saturate(training: Trainee) -> None:
    """Put sigmoids in the place of a network's ReLUs."""
    model = training.models["model"]
    for index, layer in enumerate(model):
        if isinstance(layer, nn.ReLU):
            model[index] = nn.Sigmoid()


def few(training: Trainee, since: int) -> None:
    """Train on the same 30 samples, a third of them with a wrong label."""
    if since == 0:
        samples, labels = (part[:30].clone() for part in digits())
        labels[::3] = (labels[::3] + 1) % 10
        training.draw = rows((samples, labels), 16, torch.Generator().manual_seed(1))


def noisy_labels(training: Trainee, since: int) -> None:
    """Train on one sample at a time, of which nine in ten have a label drawn by lot."""
    if since == 0:
        samples, labels = (part.clone() for part in digits())
        random = torch.Generator().manual_seed(1)
        drawn = torch.rand(len(labels), generator=random) < 0.9
        labels[drawn] = torch.randint(10, (int(drawn.sum()),), generator=random)
        training.draw = rows((samples, labels), 1, random)


def in_bfloat16(training: Trainee) -> None:
    """Keep the weights in bfloat16, and train with a learning rate whose updates they cannot hold."""
    training.model.bfloat16()
    training.optimizer.param_groups[0].update(lr=1e-5, momentum=0.0)
    training.loss = lambda model, batch: nn.functional.cross_entropy(model(batch[0].bfloat16()).float(), batch[1])


def no_scaler(training: Trainee) -> None:
    """Take the gradient scaler away from a training whose gradients need it."""
    training.scaler, training.scale = None, 1e-6
    training.optimizer.param_groups[0]["lr"] *= 1e6  # so that gradients that arrive would train as before


def both(factor: float) -> Plant:
    """Multiply the learning rates of both players."""

    def plant(training: Trainee, since: int) -> None:
        for player in training.optimizers:
            rate(factor, player)(training, since)

    return plant


def by_heart(training: Game) -> None:
    """Give the discriminator 40 images, a rate five times the generator's, and hardly a penalty."""
    known = games.some_digits(0, 40)
    training.draw = rows(known[:1], 32, torch.Generator().manual_seed(1))
    training.look_at(*known)
    training.game.loss, training.game.penalties = LOSSES["nonsaturating"], (gt.R1(0.02), gt.R2(0.02))
    for player, factor in (("generator", 0.5), ("discriminator", 2.5)):
        rate(factor, player)(training, 0)


def without_penalty(training: Game) -> None:
    """Play for the Wasserstein distance with nothing that holds the critic."""
    training.game.loss, training.game.penalties = LOSSES["wasserstein"], ()


def rewarded(training: Game) -> None:
    """Take the penalties with the wrong sign."""
    for penalty in training.game.penalties:
        penalty.weight = -1.0


def losing_modes(training: Trainee, since: int) -> None:
    """Take one mode after another away from what the discriminator is shown as real, each for 40 steps."""
    if since == 0:
        training.sound = training.draw
    kept = max(8 - since // 40 - 1, 2)

    def draw() -> Batch:
        points = torch.cat([training.sound()[0] for _ in range(4)])
        angle = torch.atan2(points[:, 1], points[:, 0]) / (2 * torch.pi) * 8
        return (points[angle.round().remainder(8) < kept][:128],)

    training.draw = draw


def too_strong(training: Trainee, since: int) -> None:
    """Let the discriminator learn 30 times as fast, with a loss that saturates and no penalty to hold it back."""
    training.game.penalties, training.game.loss = (), LOSSES["minimax"]
    rate(30, "discriminator")(training, since)


def collapsed_to(k: int) -> Plant:
    """Let the generator map what it would make to the nearest of ``k`` modes, as a collapsed one does.

    The last layer is trained towards it at once; from there on the game goes on by itself.
    """

    def change(training: Trainee) -> None:
        generator, random = training.models["generator"], torch.Generator().manual_seed(5)
        if k == 1:
            generator[-1].weight.data.mul_(1e-3)
            generator[-1].bias.data.copy_(torch.tensor([1.4, 0.0]))
            return
        fast = torch.optim.Adam(generator.parameters(), lr=3e-3)
        centres = torch.tensor([[1.4142, 0.0], [-1.4142, 0.0], [0.0, 1.4142]])[:k]
        for _ in range(200):
            z = torch.randn(128, 8, generator=random)
            aim = centres[(z[:, 0] > 0).long()]
            fast.zero_grad()
            (generator(z) - aim).square().mean().backward()
            fast.step()

    return once(change)


def adversary(change: Callable[[nn.Module], None]) -> Plant:
    """Break a domain-adversarial network."""
    return once(lambda training: change(training.models["model"]))


def _never_called(model: nn.Module) -> None:
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        features = model.features(x)
        return model.classifier(features), model.critic(features).squeeze(1)

    model.forward = forward  # type: ignore[method-assign]


def _detached_feature(model: nn.Module) -> None:
    model.reversal.register_forward_pre_hook(lambda module, given: (given[0].detach(),))


def _no_strength(model: nn.Module) -> None:
    model.reversal = gt.Reverse(0.0)
    model.reversal.step = lambda: None  # type: ignore[method-assign]


MLP, RESIDUAL, RNN = healthy.mlp_momentum, healthy.residual_adamw, healthy.vanilla_rnn
DANN, RING = healthy.domain_adversarial, games.ring_relativistic
ALL = ("all parameters",)

PLANTED: dict[str, Failure] = {
    "a layer initialised 100 times too large": Failure(
        healthy.deep_relu, times(100, "5.weight"), "initialisation", ("5",), within=30
    ),
    "all layers initialised 100 times too small": Failure(
        MLP, times(0.01, "1.weight", "3.weight", "5.weight"), "initialisation", ("1", "3", "5"), within=30
    ),
    "saturated sigmoids at depth": Failure(healthy.deep_relu, once(saturate), "vanishing", ("1",), within=20),
    "saturated tanh units": Failure(
        healthy.autoencoder, times(60, "1.weight"), "saturated", ("1", "2"), at=100, within=30
    ),
    "a recurrent weight times 4": Failure(
        RNN, times(4, "cell.weight_hh_l0"), "exploding", ("cell",), at=100, within=30
    ),
    "a learning rate 100 times too high from the start, SGD": Failure(
        MLP, rate(100), "learning rate too high", ALL, within=20
    ),
    "a learning rate times 100, SGD": Failure(MLP, rate(100), "learning rate too high", ALL, at=150, within=20),
    "a learning rate times 100, Adam": Failure(
        healthy.conv_cosine, rate(100), "learning rate too high", ALL, at=150, within=50
    ),
    "a learning rate growing 3% a step, SGD": Failure(
        healthy.mlp_sgd, growing_rate(1.03), "loss spike ahead", ALL, at=100, within=250, steps=400
    ),
    "a learning rate growing 3% a step, Adam": Failure(
        healthy.deep_relu, growing_rate(1.03), "loss spike ahead", ALL, at=100, within=250, steps=400
    ),
    "a learning rate of 1e-13": Failure(healthy.gru_adam, rate(1e-13 / 3e-3), "stalled", ALL),
    "a learning rate that becomes zero": Failure(MLP, rate(0.0), "stalled", ALL, at=100),
    "a block that no optimizer holds": Failure(RESIDUAL, optimizer_without("3."), "frozen parameter", ("3",), within=0),
    "a branch detached from the start": Failure(
        RESIDUAL, detached("3.up"), "no gradient", ("3.norm", "3.up"), within=0
    ),
    "a branch detached on the way": Failure(RESIDUAL, detached("3.up"), "no gradient", ("3.norm", "3.up"), at=120),
    "a head that no loss reads": Failure(healthy.two_tasks, new_loss(first_head_only), "no gradient", ("second",)),
    "NaN in a batch": Failure(healthy.conv_cosine, inputs(with_nan, 1), "non-finite", ("head",), at=100),
    "NaN on the way back": Failure(MLP, nan_backward("3"), "non-finite", ("3",), at=100),
    "one corrupted batch": Failure(MLP, inputs(lambda x: 30 * x, 1), "loss spike ahead", ALL, at=150),
    "float16 without a scaler": Failure(healthy.fp16_scaler, once(no_scaler), "underflow", ("1", "3"), within=20),
    "all units of a layer dead": Failure(MLP, filled(-1e3, "3.bias"), "dead layer", ("3",), at=100, within=30),
    "nine units in ten dead": Failure(MLP, filled(-1e3, "1.bias", 0.9), "dead layer", ("1",), at=100, within=30),
    "inputs that are not normalised": Failure(
        healthy.sigmoid_mlp, inputs(lambda x: 255 * x + 500), "unnormalised inputs", ("1",), within=30
    ),
    "a loss a hundred million times too small, SGD": Failure(MLP, loss_scale(1e-8), "stalled", ALL),
    "a loss a hundred million times too small, Adam": Failure(RESIDUAL, loss_scale(1e-9), "underflow", ALL, within=30),
    "a loss 10,000 times too large, SGD": Failure(MLP, loss_scale(1e4), "learning rate too high", ALL, within=20),
    "clipping at a ten-thousandth": Failure(RNN, once(lambda t: setattr(t, "clip", 1e-4)), "clipped", ALL, within=30),
    "weights that grow 2% a step": Failure(
        MLP, growing_weight("3.weight", 1.02), "exploding", ("1", "3", "5"), at=100, within=250, steps=400
    ),
    "gradients never set to zero": Failure(
        MLP, once(lambda t: setattr(t, "zero_grad", False)), "exploding", ("1", "3", "5"), within=60
    ),
    "a weight decay of 1": Failure(
        RESIDUAL,
        once(lambda t: t.optimizer.param_groups[0].update(weight_decay=100.0)),
        "update too large",
        ("1", "2", "3", "4", "6"),
        at=100,
        within=50,
    ),
    "two losses that want the opposite": Failure(
        healthy.two_tasks, new_loss(opposed), "conflicting losses", ("trunk",), within=100
    ),
    "updates that bfloat16 weights do not hold": Failure(MLP, once(in_bfloat16), "update too small", ALL),
    "a learning rate ten thousand times too low": Failure(
        healthy.mlp_sgd, rate(1e-4), "learning rate too low", ALL, within=100
    ),
    "a few samples learnt by heart, validated": Failure(
        healthy.validated, few, "overfit", ALL, at=0, within=500, steps=600
    ),
    "labels that are noise, one at a time": Failure(
        healthy.batches_of_two, noisy_labels, "noisy gradient", ALL, within=150, steps=400
    ),
    "a reversal without strength": Failure(DANN, adversary(_no_strength), "no-op adversary", ("reversal",)),
    "a reversal never called": Failure(DANN, adversary(_never_called), "no-op adversary", ("reversal",)),
    "a reversal of detached features": Failure(
        DANN, adversary(_detached_feature), "no-op adversary", ("reversal",), at=100
    ),
    "a discriminator that is too strong": Failure(
        games.digits_dcgan, too_strong, "player too strong", ALL, within=250, steps=300, player="discriminator"
    ),
    "a generator collapsed to a point": Failure(
        RING, collapsed_to(1), "mode collapse", ALL, at=200, within=30, player="generator"
    ),
    "a generator collapsed to two modes": Failure(
        RING, collapsed_to(2), "mode collapse", ALL, at=200, within=60, player="generator"
    ),
    "modes that a generator loses one by one": Failure(
        RING, losing_modes, "mode collapse", ALL, at=320, within=260, steps=600, player="generator"
    ),
    "forty images learnt by heart": Failure(
        games.digits_dcgan, once(by_heart), "memorisation", ALL, within=480, steps=500, player="discriminator"
    ),
    "a critic that nothing holds": Failure(
        games.digits_dcgan, once(without_penalty), "diverging game", ALL, within=300, steps=320, player="generator"
    ),
    "penalties with the wrong sign": Failure(
        games.digits_dcgan,
        once(rewarded),
        "exploding",
        ("0", "2", "5"),
        at=120,
        within=40,
        steps=250,
        player="discriminator",
    ),
    "learning rates of a game times 100": Failure(
        RING, both(100), "learning rate too high", ALL, at=200, within=20, player="generator"
    ),
    "a generator that stands still": Failure(
        RING, rate(1e-12, "generator"), "stalled", ALL, at=100, player="generator"
    ),
}
