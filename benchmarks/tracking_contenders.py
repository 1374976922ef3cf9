"""What takes part in tracking_cost.py: gradtape's settings and other libraries' trackers, each in its documented use.

Every contender has a model, an optimizer and a loop of its own; it adds to the loop what its documentation says, at the
places where that says so.
"""

import logging
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

import gradtape as gt


class Contender:
    """A training loop without a tracker, which the others add to."""

    name = "untracked"
    needs: ClassVar[str] = ""  # what to install
    warm_up = 3  # steps before the first that is timed
    every = 1  # blocks; those that take many times as long as all others together join in few of them

    def __init__(self, model: nn.Module, optimizer: Callable[[nn.Module], Optimizer], folder: Path) -> None:
        self.model, self.criterion, self.folder = model, nn.CrossEntropyLoss(), folder
        self.steps, self._left = 0, time.perf_counter()
        self.extend()
        self.optimizer = optimizer(self.model)
        self.attach()

    def step(self, x: Tensor, y: Tensor) -> None:
        """Make one training step."""
        output = self.model(x)
        loss = self.criterion(output, y)
        self.optimizer.zero_grad()
        self.backward(loss, output, y)
        self.before_step(loss)
        self.optimizer.step()
        self.after_step(loss)
        self.steps += 1

    def turn(self, x: Tensor, y: Tensor, steps: int) -> tuple[float, float]:
        """Make some steps; return process and wall time of all of them together."""
        self.returns(time.perf_counter() - self._left)
        process, wall = time.process_time(), time.perf_counter()
        for _ in range(steps):
            self.step(x, y)
        process, wall = time.process_time() - process, time.perf_counter() - wall
        self._left = time.perf_counter()
        return process, wall

    def extend(self) -> None:
        """Change model and loss, where a library demands it."""

    def attach(self) -> None:
        """Begin to track."""

    def returns(self, seconds: float) -> None:
        """Take note that others had their turns for so long."""

    def backward(self, loss: Tensor, output: Tensor, y: Tensor) -> None:
        """Call backward."""
        loss.backward()

    def before_step(self, loss: Tensor) -> None:
        """Track between backward and the optimizer's step."""

    def after_step(self, loss: Tensor) -> None:
        """Track after the optimizer's step."""

    def settle(self) -> None:
        """Wait for what still runs in other threads, so that the next one's time is its own."""

    def detach(self) -> None:
        """End it."""


class Again(Contender):
    """The same once more: what the measurement itself is worth."""

    name = "untracked again"


class Default(Contender):
    """gradtape as ``gt.track`` sets it."""

    name = "gradtape"
    warm_up = 70  # the budget is reconsidered at every 32nd step
    settings: ClassVar[dict[str, Any]] = {}

    def attach(self) -> None:
        """Track into a run folder."""
        self.tracker = gt.track(self.model, self.optimizer, run=self.folder / "run", **self.settings)
        self.player = next(iter(self.tracker._players.values()))

    def returns(self, seconds: float) -> None:
        """Have its clock stand still: to the budget, the others' turns would look like a slow step."""
        if self.player._clock._last:
            self.player._clock._last += seconds

    def detach(self) -> None:
        """Close the tracker."""
        self.tracker.close()

    def parts(self) -> dict[str, tuple[float, int]]:
        """Return what gradtape's own clock says: part -> (milliseconds of a reading, steps between two readings)."""
        schedule = self.player.schedule
        every = {"base": 1, "sizes": schedule.sizes_interval} | dict.fromkeys(schedule.dear, schedule.dear_interval)
        return {name: (1000 * cost, every[name]) for name, cost in schedule._cost.items() if name in every}


class EveryStep(Default):
    """Only what is read at every step: norms, update sizes, non-finite counts. The public API has no such setting."""

    name = "gradtape, every-step measures only"
    warm_up = 3
    settings: ClassVar[dict[str, Any]] = {"budget": None, "activations": False}

    def attach(self) -> None:
        """Track without dear measures."""
        super().attach()
        self.player.schedule.dear.clear()


class All(Default):
    """All measures on their fixed schedule, and all rules asked now and then."""

    name = "gradtape, all measures, all rules"
    warm_up = 17
    settings: ClassVar[dict[str, Any]] = {"budget": None}
    asked = 100  # steps

    def after_step(self, loss: Tensor) -> None:
        """Ask."""
        if self.steps % self.asked == self.asked - 1:
            began = time.perf_counter()
            found = self.tracker.findings
            self.answer = (1000 * (time.perf_counter() - began), self.steps + 1, len(found))


class WandbWatch(Contender):
    """wandb.watch of everything at every step, offline."""

    name = "wandb.watch"
    needs = "wandb"

    def attach(self) -> None:
        """Begin an offline run."""
        import wandb

        logging.getLogger("wandb").setLevel(logging.ERROR)
        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
        self.run = wandb.init(mode="offline", dir=str(self.folder), settings=settings)
        self.run.watch(self.model, log="all", log_freq=1)

    def after_step(self, loss: Tensor) -> None:
        """Log the loss, which sends what was watched."""
        self.run.log({"loss": loss.item()})

    def settle(self) -> None:
        """Wait for its threads."""
        _settle()

    def detach(self) -> None:
        """End the run."""
        self.run.unwatch(self.model)
        self.run.finish()


class LightningGradNorm(Contender):
    """Lightning's grad_norm as in its ``on_before_optimizer_step``, logged by its CSVLogger."""

    name = "Lightning grad_norm"
    needs = "lightning"

    def attach(self) -> None:
        """Open the logger."""
        from lightning.pytorch.loggers import CSVLogger
        from lightning.pytorch.utilities import grad_norm

        self.norm, self.logger = grad_norm, CSVLogger(str(self.folder))

    def before_step(self, loss: Tensor) -> None:
        """Take and log the norms."""
        self.logger.log_metrics({"loss": loss.item(), **self.norm(self.model, norm_type=2)}, self.steps)
        if self.steps % 50 == 49:  # what Lightning's trainer does at every 50th step
            self.logger.save()


class CockpitEconomy(Contender):
    """Cockpit's economy configuration at every step."""

    name = "Cockpit economy"
    needs = "cockpit-for-pytorch 'setuptools<81' (with its dependencies, but for torchvision, by --no-deps)"
    warm_up = 1
    every = 5

    def extend(self) -> None:
        """Have BackPACK extend model and losses."""
        from backpack import extend

        self.model, self.criterion = extend(self.model), extend(self.criterion)
        self.each = extend(nn.CrossEntropyLoss(reduction="none"))

    def attach(self) -> None:
        """Make the cockpit."""
        from cockpit import Cockpit
        from cockpit.utils.configuration import configuration

        self.cockpit = Cockpit(self.model.parameters(), quantities=configuration("economy"))

    def backward(self, loss: Tensor, output: Tensor, y: Tensor) -> None:
        """Call backward in its context."""
        info = {
            "batch_size": len(y),
            "individual_losses": self.each(output, y),
            "loss": loss,
            "optimizer": self.optimizer,
        }
        with self.cockpit(self.steps, info=info):
            loss.backward(create_graph=self.cockpit.create_graph(self.steps))


class Trainscope(Contender):
    """Trainscope in the lines of its quick start."""

    name = "trainscope"
    needs = "trainscope"

    def attach(self) -> None:
        """Attach the scope."""
        from trainscope import TrainScope, TrainScopeConfig

        logging.getLogger("trainscope").setLevel(logging.ERROR)
        self.scope = TrainScope(self.model, self.optimizer, config=TrainScopeConfig(run_dir=str(self.folder))).attach()

    def before_step(self, loss: Tensor) -> None:
        """Record, between backward and the step."""
        self.scope.step(loss.item(), batch_index=self.steps)

    def settle(self) -> None:
        """Wait for its threads."""
        _settle()

    def detach(self) -> None:
        """Detach the scope."""
        self.scope.detach()


OURS: tuple[type[Contender], ...] = (Contender, Again, Default, EveryStep, All)
# trainscope before wandb: made later it would find wandb's run and log into it
PEERS: tuple[type[Contender], ...] = (LightningGradNorm, CockpitEconomy, Trainscope, WandbWatch)


def _settle() -> None:
    """Wait until other threads of this process are idle, for a second at most."""
    for _ in range(50):
        began = time.process_time()
        time.sleep(0.02)
        if time.process_time() - began < 0.001:
            return


def made(
    kind: type[Contender],
    model: nn.Module,
    optimizer: Callable[[nn.Module], Optimizer],
    folder: Path,
    batch: tuple[Tensor, Tensor],
    warm_up: int | None,
) -> Contender | str:
    """Return a contender that has made its first steps, or in words why there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            contender = kind(model, optimizer, folder)
            contender.turn(*batch, kind.warm_up if warm_up is None else min(warm_up, kind.warm_up))
            contender.settle()
    except ModuleNotFoundError as error:
        return f"left out, no module {error.name!r}: pip install {kind.needs}"
    except Exception as error:
        if not kind.needs:
            raise
        said = (str(error).strip() or "no message").splitlines()[0]
        return f"cannot: {type(error).__name__}: {said[:160]}"
    return contender
