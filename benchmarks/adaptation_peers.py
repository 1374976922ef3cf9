"""Adaptation by gradtape beside two libraries for it, each with the defaults of its own methods.

All have the same networks with the same first weights (``gradtape.nets``, a linear head), inputs standardised by the
source, the same number of steps, 64 rows of each domain in a batch, AdamW at 3e-3 along a cosine, and the whole source
to train on. The accuracy is that of the last step, on a part of the target that nobody saw; nothing is chosen by it.

* gradtape: the methods' modules with their defaults, in the plain loop of this file. "source only" never sees the
  target; in "source only, joint batch norm" the target passes the features and nothing else, which is what remains of
  an adaptation that does nothing.
* skada 0.6.0: ``fit`` of its networks, with its own batches and epochs; a callback moves the learning rate, another
  stops after the last step. Its critic ends in a softmax over one unit, which is 1 whatever it is given: the run prints
  what the critic says. Where the name has "sigmoid", it was given its critic with a sigmoid there instead.
* pytorch-adapt 0.0.83: ``training_step`` of its adapters, in the loop of this file, on the very batches that gradtape's
  methods get; its models ``Discriminator(h=256)``, ``RandomizedDotProduct`` and ``MultipleModels`` as in its examples.

The libraries are not installed here; a line says so where one is missing, and the others run. Neither needs
torchvision for what is used of it. To have them:

    pip install --no-deps --target FOLDER skada==0.6.0 POT skorch tabulate \\
        pytorch-adapt==0.0.83 pytorch-metric-learning==2.9.0 tqdm
    python benchmarks/adaptation_peers.py --packages FOLDER [--seeds 5] [--steps 600] [--tasks moons ...] [--arms ...]
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from _domains import Pair, mnist_to_usps, moons, usps_to_mnist
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

import gradtape as gt
from gradtape.adaptation import make
from gradtape.evidence import mean_interval
from gradtape.nets import ImageFeatures, TableFeatures
from gradtape.seeding import derive, generator

BATCH = 64
ADAMW = {"lr": 3e-3, "weight_decay": 1e-2}
TASKS: dict[str, Callable[..., Pair]] = {"usps-mnist": usps_to_mnist, "mnist-usps": mnist_to_usps, "moons": moons}


class Task(NamedTuple):
    """What an arm gets: both domains, standardised, networks, and how long to train; ``predict`` is its answer."""

    xs: Tensor
    ys: Tensor
    xt: Tensor
    features: nn.Module
    head: nn.Linear
    steps: int
    seed: int

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.head.out_features

    def batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield a batch of both domains for each step; the same ones in every arm."""
        for number in range(self.steps):
            random = generator(self.seed, "peers", "batch", number)
            rows, others = (torch.randint(len(x), (BATCH,), generator=random) for x in (self.xs, self.xt))
            yield self.xs[rows], self.ys[rows], self.xt[others]


Predict = Callable[[Tensor], Tensor]  # inputs to logits
Arm = Callable[[Task], Predict]
Found = dict[tuple[str, str], list[tuple[float, float]]]  # task and arm to accuracy and process time of each seed


def prepared(pair: Pair, steps: int, seed: int) -> tuple[Task, Tensor, np.ndarray]:
    """Return what an arm gets, and the inputs and labels of the test."""
    axes = None if pair.source.ndim == 4 else 0
    centre, scale = pair.source.mean(axes), pair.source.std(axes)
    xs, xt, test = (torch.from_numpy((x - centre) / scale) for x in (pair.source, pair.target, pair.test))
    torch.manual_seed(derive(seed, "peers", "weights"))
    features = ImageFeatures(tuple(xs.shape[1:])) if xs.dim() == 4 else TableFeatures(xs.shape[1])
    head = nn.Linear(128 if xs.dim() == 4 else 64, int(pair.labels.max()) + 1)
    task = Task(xs, torch.from_numpy(pair.labels), xt, features, head, steps, seed)
    return task, test, pair.test_labels


def ours(name: str, *, target: bool = True) -> Arm:
    def train(task: Task) -> Predict:
        more: dict[str, Any] = {"seed": task.seed} if "self-training" in name else {}
        if more and task.xs.dim() == 4:
            more["view"] = gt.DiffAugment(("affine",))
        method = make(name, task.features, task.head, steps=task.steps, **more)
        optimizer = AdamW(method.parameters(), **ADAMW)
        schedule = CosineAnnealingLR(optimizer, task.steps)
        for xs, ys, xt in task.batches():
            loss = method(xs, ys, xt if target else None)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return method.eval().predict

    return train


class Classifier(nn.Module):
    """Features and a head as skada calls them."""

    def __init__(self, features: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features, self.head = features, head

    def forward(self, x: Tensor, sample_weight: Tensor | None = None) -> Tensor:  # noqa: D102
        logits: Tensor = self.head(self.features(x))
        return logits


def skada(name: str, *, sigmoid: bool = False) -> Arm:
    def train(task: Task) -> Predict:
        import skada.deep
        from skada.deep.modules import DomainClassifier
        from skorch.callbacks import Callback, LRScheduler

        class Stop(Callback):
            left = task.steps

            def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
                self.left -= training
                if not self.left:
                    raise KeyboardInterrupt  # which fit takes for a wish to stop

        size = task.head.in_features
        settings: dict[str, Any] = {"num_features": size} | ({"n_classes": task.classes} if name == "CDAN" else {})
        if sigmoid:
            settings["domain_classifier"] = DomainClassifier(size * (task.classes if name == "CDAN" else 1))
            settings["domain_classifier"].classifier[-1] = nn.Sigmoid()
        net = getattr(skada.deep, name)(
            Classifier(task.features, task.head),
            layer_name="features",
            optimizer=AdamW,
            **{f"optimizer__{key}": value for key, value in ADAMW.items()},
            batch_size=BATCH,
            max_epochs=task.steps,
            train_split=None,
            callbacks=[LRScheduler(CosineAnnealingLR, T_max=task.steps, step_every="batch"), Stop()],
            verbose=0,
            **settings,
        )
        X, y = torch.cat([task.xs, task.xt]), torch.cat([task.ys, torch.full((len(task.xt),), -1)])
        net.fit(X.numpy(), y.numpy(), np.repeat([1, -2], [len(task.xs), len(task.xt)]))
        module = net.module_
        with torch.no_grad():
            z = module.base_module_.features(task.xs[:BATCH])
            if name == "DANN" and task.seed == 0:
                told = module.domain_classifier_(z)
                what = "skada's critic with a sigmoid" if sigmoid else "skada's critic"
                print(f"  {what} says {told.min():.3f} to {told.max():.3f} of a batch of the source", flush=True)
        module.eval()
        return module.base_module_

    return train


def adapt(name: str) -> Arm:
    def train(task: Task) -> Predict:
        from pytorch_adapt import adapters
        from pytorch_adapt.containers import LRSchedulers, Misc, Models, Optimizers
        from pytorch_adapt.layers import MultipleModels, RandomizedDotProduct
        from pytorch_adapt.models import Discriminator

        size = task.head.in_features
        models: dict[str, nn.Module] = {"G": task.features, "C": task.head}
        given: dict[str, Any] = {}
        if name == "MCD":
            second = copy.deepcopy(task.head)
            second.reset_parameters()
            models["C"] = MultipleModels(task.head, second)
        elif name == "CDAN":
            given["misc"] = Misc({"feature_combiner": RandomizedDotProduct([size, task.classes], size)})
        if name != "MCD":
            models["D"] = Discriminator(size, h=256)
        adapter = getattr(adapters, name)(
            models=Models(models),
            optimizers=Optimizers((AdamW, ADAMW)),
            lr_schedulers=LRSchedulers((CosineAnnealingLR, {"T_max": task.steps})),
            **given,
        )
        zeros, ones = torch.zeros(BATCH), torch.ones(BATCH)
        for xs, ys, xt in task.batches():
            batch = {"src_imgs": xs, "src_labels": ys, "src_domain": zeros, "target_imgs": xt, "target_domain": ones}
            adapter.training_step(batch)
            adapter.lr_schedulers.step("per_step")
        adapter.models.eval()
        return lambda x: adapter.inference(x, domain=1)["logits"]

    return train


ARMS: dict[str, Arm] = {
    "source only": ours("source", target=False),
    "source only, joint batch norm": ours("source"),
    "gradtape dann": ours("dann"),
    "gradtape cdan": ours("cdan"),
    "gradtape mcd": ours("mcd"),
    "gradtape dann+mcc": ours("dann+mcc"),
    "gradtape dann+self-training": ours("dann+self-training"),
    "skada DANN": skada("DANN"),
    "skada DANN, sigmoid": skada("DANN", sigmoid=True),
    "skada CDAN": skada("CDAN"),
    "skada CDAN, sigmoid": skada("CDAN", sigmoid=True),
    "pytorch-adapt DANN": adapt("DANN"),
    "pytorch-adapt CDAN": adapt("CDAN"),
    "pytorch-adapt MCD": adapt("MCD"),
}


@torch.no_grad()
def accuracy(predict: Predict, test: Tensor, labels: np.ndarray) -> float:
    found = torch.cat([predict(part).argmax(1) for part in test.split(1000)])
    return 100 * float((found.numpy() == labels).mean())


def run(names: list[str], arms: list[str], asked: argparse.Namespace) -> Found:
    """Return what each seed came to; ``arms`` loses those whose library is missing."""
    found: Found = {}
    for seed in range(asked.seeds):
        for name in names:
            pair = TASKS[name](seed, asked.data_dir)
            for arm in list(arms):
                task, test, labels = prepared(pair, asked.steps, seed)
                began = time.process_time()
                try:
                    predict = ARMS[arm](task)
                except ModuleNotFoundError as error:
                    print(f"{arm}: not run, {error.name} is not installed", flush=True)
                    arms.remove(arm)
                    continue
                seconds = time.process_time() - began
                score = accuracy(predict, test, labels)
                print(f"{name:<12}{arm:<32}seed {seed}  {score:5.1f} %  {seconds:5.0f} s", flush=True)
                found.setdefault((name, arm), []).append((score, seconds))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", help="the folder that holds the other libraries")
    parser.add_argument("--data-dir", help="the folder that holds mnist/ and usps/")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the libraries warn a great deal
    if asked.packages:
        sys.path.append(asked.packages)
    arms = list(asked.arms)
    found = run(asked.tasks, arms, asked)
    print(f"\nAccuracy on the target's test part in %, {asked.steps} steps: mean and 95% interval,", end=" ")
    print(f"n = {asked.seeds} seeds; s: median process time of a training\n")
    print("| arm | " + " | ".join(f"{name} | s" for name in asked.tasks) + " |")
    print("|---" * (2 * len(asked.tasks) + 1) + "|")
    for arm in arms:
        cells = []
        for name in asked.tasks:
            scores, seconds = zip(*found[name, arm], strict=True)
            cells += [f"{mean_interval(scores):.1f}" if asked.seeds > 1 else f"{scores[0]:.1f}"]
            cells += [f"{statistics.median(seconds):.0f}"]
        print(f"| {arm} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
