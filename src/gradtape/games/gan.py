"""The game of a generator against a discriminator."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gradtape.errors import InputError
from gradtape.games._average import MovingAverage
from gradtape.games._judge import Judge, Told
from gradtape.games._pace import Pace
from gradtape.games._refusals import check_batch, check_parts, check_settings
from gradtape.games._solver import FLAT, MIXES, Solver, choose, descend, mixes
from gradtape.games._unrolled import unrolled
from gradtape.games.diversity import ModeSeeking
from gradtape.games.losses import LOSSES, AdversarialLoss
from gradtape.games.penalties import R1, R2, Penalty
from gradtape.games.views import View
from gradtape.seeding import generator as random_stream
from gradtape.transforms import schedules

Latent = int | Callable[[int], Tensor]
_RATES = (5e-4, 1e-3)  # the generator's and the discriminator's
_PENALTY = (0.5, 0.0005)  # the default's weight at first and at last, for samples of about unit variance
_FALLS = 0.75  # of the planned steps, over which it falls; in the rest a sharp discriminator clears the gaps
_LASTING = 0.1  # where no number of steps is planned
_PROBED = (0, 1, 10, 100, 1000)  # steps at which it is asked whether one-pass is exact
_CHUNK = 1024  # samples drawn at once


class GameStep(NamedTuple):
    """What one step did.

    Attributes:
        discriminator: The discriminator's loss without penalties.
        generator: The generator's loss, without terms of diversity.
        penalty: The sum of the penalties.
        real: Mean logit of the real samples.
        fake: Mean logit of the generated samples.
    """

    discriminator: float
    generator: float
    penalty: float
    real: float
    fake: float


class GAN:
    """A generator and a discriminator trained against each other.

    Both learn from one pass over the tape where that is exact, and in turns otherwise; ``solver`` says which and why.
    A moving average of the generator, with its batch-norm statistics, is what samples are drawn from.

    Args:
        generator: ``generator(z)``, or ``generator(z, condition)``.
        discriminator: ``discriminator(x)`` or ``discriminator(x, condition)``: logits of shape (n,) or (n, 1).
        loss: A name in ``LOSSES``, or a loss of your own.
        latent: Size of z ~ N(0, I), shape (n, latent); or a function from n to z, whose draws are then not the game's:
            neither seeded nor in its state.
        solver: ``"one-pass"``: both players' gradients from one pass through the discriminator, at the same weights;
            ``"alternating"``: the generator answers to the discriminator that has just moved; ``"auto"``: one-pass
            where it is exact, which the first batch decides.
        penalties: Penalties on the discriminator. None takes ``R1`` and ``R2``, whose weight falls from 0.5 to 0.0005
            along a cosine over three quarters of ``steps``, and is 0.1 without; made for samples of unit variance.
        views: What the discriminator is shown in place of the samples, in this order; real and fake alike.
        diversity: Terms of the generator that reward variety.
        unroll: Number of steps of the discriminator that the generator looks ahead, through which its gradient flows.
        lr: Learning rates of the generator's and of the discriminator's Adam (two time scales), or one for both.
        betas: Those of both Adams; the second may be a schedule.
        steps: Number of steps that are planned: learning rates fall to zero over them along a cosine. None keeps them.
        generator_every: The generator moves at every so-manieth step only.
        ema: Decay of the moving average per step, in [0, 1); less at first, so that it forgets the initial weights.
        autocast: Number type of the players' arithmetic, such as ``torch.bfloat16``; None keeps that of the weights.
        seed: Seed of the latent draws and of the views.

    Raises:
        InputError: An unknown loss, a setting out of range, or parts that do not go together.

    Examples:
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <torch._C.Generator ...>
        >>> game = GAN(nn.Linear(2, 3), nn.Linear(3, 1), latent=2)
        >>> _ = game.step(torch.randn(8, 3))
        >>> game.solver.name, game.sample(4).shape
        ('one-pass', torch.Size([4, 3]))

    Source: Goodfellow et al. 2014; the defaults are those of Huang et al., The GAN is dead; long live the GAN, NeurIPS
    2024; two time scales: Heusel et al., NeurIPS 2017.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        loss: str | AdversarialLoss = "relativistic",
        latent: Latent = 64,
        solver: str = "auto",
        penalties: Sequence[Penalty] | None = None,
        views: Sequence[View] = (),
        diversity: Sequence[ModeSeeking] = (),
        unroll: int = 0,
        lr: float | tuple[float, float] = _RATES,
        betas: tuple[float, float | Callable[[int], float]] = (0.0, 0.99),
        steps: int | None = None,
        generator_every: int = 1,
        ema: float = 0.999,
        autocast: torch.dtype | None = None,
        seed: int = 0,
    ) -> None:
        check_settings(loss, latent, solver, unroll, generator_every)
        check_parts(generator, discriminator, penalties or (), views, diversity)
        self.models: dict[str, nn.Module] = {"generator": generator, "discriminator": discriminator}
        self.average = copy.deepcopy(generator).requires_grad_(False).eval()
        self.loss = LOSSES[loss] if isinstance(loss, str) else loss
        self._pace = Pace(self.models, lr, betas, steps)
        self.optimizers: dict[str, torch.optim.Optimizer] = self._pace.optimizers
        self.penalties = _default_penalties(steps) if penalties is None else tuple(penalties)
        self.views = tuple(views)
        self.diversity = tuple(diversity)
        self.position = 0
        self.solver = Solver(solver, "as was asked") if solver != "auto" else Solver("auto", "the first batch decides")
        self._asked, self._mode = solver, discriminator.training
        self._moving = MovingAverage(self.average, generator, ema)
        self._judge = Judge(discriminator, self.views)
        self._relative = _relative(self.loss)
        self._unroll = unroll
        self._generator_every = generator_every
        self._latent = latent
        self._autocast = autocast
        self._random = {name: random_stream(seed, name) for name in ("latent", "views")}

    def step(self, real: Tensor, condition: Tensor | None = None) -> GameStep:
        """Train both players on one batch.

        Args:
            real: Real samples, shape (n, ...).
            condition: What the players are told of each: labels (n,), or attributes (n, k); the fake batch gets the
                same.

        Returns:
            Both losses, the penalty and the mean logits.

        Raises:
            InputError: A batch that is empty or not finite, or networks, views and batch that do not go together.
        """
        check_batch(real, condition, self.views, self.diversity)
        told = () if condition is None else (condition,)
        moves = self.position % self._generator_every == 0
        due = [penalty for penalty in self.penalties if penalty.due(self.position)]
        with self._arithmetic(real.device):
            z = self.latent(len(real), device=real.device)
            fake = self._make(z, told, real)
            shown = {side: self._judge.show(x, self._random["views"]) for side, x in (("real", real), ("fake", fake))}
            self._settle(shown, told)
            at_once = moves and self.solver.name == "one-pass"
            judged, penalty = self._judge.consider(
                shown["real"], shown["fake"], told, due, self.position, self._random["views"], attach=at_once
            )
            logits = judged.logits["real"], judged.logits["fake"]
            d_loss = self.loss.discriminator(*logits).mean()
            g_loss = self.loss.generator(logits[0].detach(), logits[1].detach()).mean()

        learning = _learning(self.models["discriminator"])
        self.optimizers["discriminator"].zero_grad()
        if at_once:
            touched = any(penalty.fakes for penalty in due)
            signal = descend(self.loss, judged, d_loss + penalty, learning, touched=touched)
        else:
            (d_loss + penalty).backward(inputs=learning)
        self.optimizers["discriminator"].step()

        if moves:
            self.optimizers["generator"].zero_grad()
            variety = [term(z, fake) for term in self.diversity]
            if at_once:
                parts = [signal, *(None for _ in variety)]
                torch.autograd.backward([shown["fake"], *variety], parts, inputs=_learning(self.models["generator"]))
            else:
                with self._arithmetic(real.device):
                    g_loss = self._answer(shown, told, logits[0].detach())
                sum(variety, g_loss).backward(inputs=_learning(self.models["generator"]))
            self.optimizers["generator"].step()
            self._moving.follow(self.position // self._generator_every)
        self.position += 1
        self._pace.advance(self.position)
        for view in self.views:
            view.observe(logits[0].detach() - (logits[1].detach() if self._relative else 0))
            view.advance()
        return GameStep(*(value.item() for value in (d_loss, g_loss, penalty, logits[0].mean(), logits[1].mean())))

    def latent(self, n: int, random: torch.Generator | None = None, device: torch.device | None = None) -> Tensor:
        """Draw latents, shape (n, latent), from the game's own stream if none is given."""
        if callable(self._latent):
            return self._latent(n)
        return torch.randn(n, self._latent, generator=random or self._random["latent"]).to(device)

    @torch.no_grad()
    def sample(self, n: int, condition: Tensor | None = None, random: torch.Generator | None = None) -> Tensor:
        """Draw samples from the averaged generator.

        Args:
            n: Number of samples.
            condition: What the generator is told of each, shape (n,) or (n, k).
            random: Where the latent draws come from; the game's own stream otherwise.

        Raises:
            InputError: ``n`` is no number of samples, or the condition has another length.
        """
        if n < 1 or (condition is not None and len(condition) != n):
            what = "" if condition is None else f" and the condition has length {len(condition)}"
            raise InputError(f"{n} samples are asked for{what}", remedy="give at least 1, and one condition for each")
        z = self.latent(n, random, next(self.average.parameters()).device)
        parts = zip(*(x.split(_CHUNK) for x in (z, *(() if condition is None else (condition,)))), strict=True)
        return torch.cat([self.average(*part) for part in parts])

    @property
    def judges_singly(self) -> bool:
        """Whether the discriminator judges samples one by one, as far as is known; packs are judged together."""
        together = any(view.packs > 1 for view in self.views) or mixes(self.models["discriminator"])
        return not together and self.solver.reason != MIXES

    @torch.no_grad()
    def judge(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the discriminator's logits (n,) for samples as they are, without views, in evaluation mode."""
        discriminator = self.models["discriminator"]
        training = discriminator.training
        discriminator.eval()
        try:
            return self._judge.logits(x, () if condition is None else (condition,))
        finally:
            discriminator.train(training)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on; tensors are the game's own, as with a module's."""
        return {
            "models": {name: model.state_dict() for name, model in self.models.items()},
            "average": self.average.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "penalties": [penalty.state_dict() for penalty in self.penalties],
            "views": [view.state_dict() for view in self.views],
            "random": {name: random.get_state() for name, random in self._random.items()},
            "position": self.position,
            "solver": tuple(self.solver),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state of a game made the same way; the next step is the one that would have followed it.

        Raises:
            InputError: The state is that of a game with other penalties or views.
        """
        for name, mine in (("penalties", self.penalties), ("views", self.views)):
            if len(state.get(name, ())) != len(mine):
                raise InputError(
                    f"the state is of a game with {len(state.get(name, ()))} {name} and this one has {len(mine)}",
                    remedy="make the game as the saved one was made",
                )
        for name in self.models:
            self.models[name].load_state_dict(state["models"][name])
            self.optimizers[name].load_state_dict(state["optimizers"][name])
        for penalty, kept in zip(self.penalties, state["penalties"], strict=True):
            penalty.load_state_dict(kept)
        for view, kept in zip(self.views, state["views"], strict=True):
            view.load_state_dict(kept)
        self.average.load_state_dict(state["average"])
        for name, random in self._random.items():
            random.set_state(state["random"][name])
        self.position = state["position"]
        if self._asked != "alternating":
            self.solver = Solver(*state["solver"])

    def _make(self, z: Tensor, told: Told, real: Tensor) -> Tensor:
        """Return generated samples, of the shape of the real ones."""
        try:
            fake: Tensor = self.models["generator"](z, *told)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            if self.position:
                raise
            raise InputError(
                f"the generator does not take latents of shape {tuple(z.shape)}"
                + (f" with a condition of shape {tuple(told[0].shape)}" if told else "")
                + f" ({str(error).splitlines()[0]})",
                remedy="give GAN the generator's size as latent=, and step() the condition that it takes",
            ) from error
        if fake.shape != real.shape:
            raise InputError(
                f"the generator makes {tuple(fake.shape)} and the batch has {tuple(real.shape)}",
                remedy="let it make samples of the shape of the data",
            )
        return fake

    def _settle(self, shown: dict[str, Tensor], told: Told) -> None:
        """Decide on the solver, where that is left open or has to be exact; ask again now and then, as weights move."""
        if self._unroll:
            self.solver = Solver("alternating", f"the generator looks {self._unroll} steps ahead")
            return
        mode = self.models["discriminator"].training
        undecided = self.solver.reason == FLAT
        if self._asked == "alternating" or (self.solver.name == "alternating" and self.position and not undecided):
            return
        if self.position in _PROBED or undecided or mode != self._mode:
            self.solver = choose(self._asked, self.loss, self._judge, shown["real"], shown["fake"], told)
        self._mode = mode

    def _answer(self, shown: dict[str, Tensor], told: Told, real: Tensor) -> Tensor:
        """Return the generator's loss against the discriminator as it is now, or some steps ahead."""
        if self._unroll:
            optimizer = self.optimizers["discriminator"]
            real, fake = unrolled(self._judge, optimizer, self.loss, shown["real"], shown["fake"], told, self._unroll)
        else:
            fake = self._judge.logits(shown["fake"], told)
        return self.loss.generator(real, fake).mean()

    def _arithmetic(self, device: torch.device) -> AbstractContextManager[Any]:
        if self._autocast is None:
            return nullcontext()
        return torch.autocast(device.type, self._autocast)


def _default_penalties(steps: int | None) -> tuple[Penalty, ...]:
    weight = _LASTING if steps is None else schedules.cosine(*_PENALTY, total_steps=max(1, round(_FALLS * steps)))
    return R1(weight), R2(weight)


def _relative(loss: AdversarialLoss) -> bool:
    """Whether only differences of logits count, so that a logit by itself means nothing."""
    real, fake = torch.tensor([0.5, 2.0]), torch.tensor([-1.0, 0.25])
    return torch.allclose(loss.discriminator(real + 3, fake + 3), loss.discriminator(real, fake))


def _learning(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
