"""The term of each method by hand, and who moves which way."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.functional import softplus as softplus_of

from gradtape.adaptation.methods import ADDA, AFN, CDAN, METHODS, MMD, PADA, Method, Seen
from tests.adaptation.batches import Batch, adapted, batch, gradients, method


def seen_by(made: Method, given: Batch) -> Seen:
    return made.see(*given)


def softmax(row: Tensor) -> list[float]:
    exps = [math.exp(value) for value in row.tolist()]
    return [value / sum(exps) for value in exps]


def mean(values: Any) -> float:
    values = list(values)
    return sum(values) / len(values)


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


def entropy(p: list[float]) -> float:
    return -sum(value * math.log(value) for value in p)


def kernel(rows: list[list[float]]) -> list[list[float]]:
    """Five Gaussians of the pooled mean squared distance, pair by pair."""
    squares = [[sum((a - b) ** 2 for a, b in zip(one, two, strict=True)) for two in rows] for one in rows]
    middle = mean(itertools.chain(*squares))
    return [[mean(math.exp(-d / (c * middle)) for c in (0.25, 0.5, 1, 2, 4)) for d in row] for row in squares]


def discrepancy(k: list[list[float]], n: int) -> float:
    ours, theirs = range(n), range(n, len(k))
    within = [mean(k[i][j] for i, j in itertools.product(side, side)) for side in (ours, theirs)]
    return sum(within) - 2 * mean(k[i][j] for i, j in itertools.product(ours, theirs))


def critic_loss(source: list[float], target: list[float]) -> float:
    return (mean(softplus(-logit) for logit in source) + mean(softplus(logit) for logit in target)) / 2


def conditioned(z: Tensor, logits: Tensor) -> Tensor:
    rows = []
    for features, row in zip(z.tolist(), logits, strict=True):
        rows.append([value * p for value in features for p in softmax(row)])
    return torch.tensor(rows, dtype=torch.float64)


def judged(critic: Any, *sides: Tensor) -> list[list[float]]:
    return [critic(side).flatten().tolist() for side in sides]


def twin(name: str, made: Any, seen: Seen) -> float:
    """The term of a method by its formula, row by row."""
    zs, zt, n = seen.source, seen.target, len(seen.source)
    p, q = ([softmax(row) for row in logits] for logits in (seen.source_logits, seen.target_logits))
    if name in ("dann", "partial"):  # whose classes count alike at first
        return critic_loss(*judged(made.critic, zs, zt))
    if name == "cdan":
        return critic_loss(
            *judged(made.critic, conditioned(zs, seen.source_logits), conditioned(zt, seen.target_logits))
        )
    if name == "cdan+e":
        sides = judged(made.critic, conditioned(zs, seen.source_logits), conditioned(zt, seen.target_logits))
        total = 0.0
        for sign, logits, rows in ((-1, sides[0], p), (1, sides[1], q)):
            weights = [1 + math.exp(-entropy(row)) for row in rows]
            total += sum(w * softplus(sign * f) for w, f in zip(weights, logits, strict=True)) / sum(weights)
        return total / 2
    if name == "adda":
        source, target = judged(made.critic, zs, zt)
        return critic_loss(source, target) - mean(softplus(-logit) for logit in target) / 2
    if name == "mcd":
        other = [softmax(row) for row in made.other(zt)]
        return -mean(abs(a - b) for one, two in zip(q, other, strict=True) for a, b in zip(one, two, strict=True))
    if name == "mdd":
        ours, theirs = ([softmax(row) for row in made.other(z)] for z in (zs, zt))
        agree = mean(-math.log(row[max(range(3), key=said.__getitem__)]) for row, said in zip(ours, p, strict=True))
        differ = mean(
            -math.log(1 - row[max(range(3), key=said.__getitem__)]) for row, said in zip(theirs, q, strict=True)
        )
        return (4 * agree + differ) / 5
    if name == "mcc":
        q = [softmax(row / 2.5) for row in seen.target_logits]
        weights = [1 + math.exp(-entropy(row)) for row in q]
        confusion = [
            [sum(w * row[a] * row[b] for w, row in zip(weights, q, strict=True)) for b in range(3)] for a in range(3)
        ]
        return mean(1 - confusion[a][a] / sum(confusion[a]) for a in range(3))
    if name == "afn":
        return -0.1 * 2 * mean(mean(math.hypot(*row) for row in z.tolist()) for z in (zs, zt))
    if name == "coral":
        covariances = [np.cov(z.numpy(), rowvar=False, bias=True) for z in (zs, zt)]
        return float(((covariances[0] - covariances[1]) ** 2).sum() / (4 * 6**2))
    if name == "mmd":
        return discrepancy(kernel(zs.tolist() + zt.tolist()), n)
    if name == "jan":
        features, outputs = kernel(zs.tolist() + zt.tolist()), kernel(p + q)
        return discrepancy(
            [[a * b for a, b in zip(*rows, strict=True)] for rows in zip(features, outputs, strict=True)], n
        )
    if name == "bsp":
        grams = [z.numpy().T @ z.numpy() / len(z) for z in (zs, zt)]
        return 0.0072 * mean(float(np.linalg.eigvalsh(gram)[-1]) for gram in grams)
    if name == "self-training":
        return mean(-math.log(max(row)) for row in q)  # the teacher is the network at first
    if name == "multi-source":
        own = [zs[seen.domains == domain] for domain in (0, 1)]
        return mean(critic_loss(*judged(critic, z, zt)) for critic, z in zip(made.critics, own, strict=True))
    if name == "open-set":
        return mean(-(math.log(row[3]) + math.log(1 - row[3])) / 2 for row in q)
    assert name == "generalisation"
    told = [softmax(row) for row in made.critic(zs)]
    places = list(enumerate(seen.domains.tolist()))
    return mean(mean(-math.log(told[row][domain]) for row, domain in places if domain == own) for own in (0, 1))


@pytest.mark.parametrize("name", [name for name in METHODS if name != "source"])
def test_the_term_is_that_of_the_formula(name: str) -> None:
    made, given = method(name), batch(12, 8)
    with torch.no_grad():
        by_hand = twin(name, made, seen_by(made, given))
    assert abs(by_hand) > 1e-4
    assert given.term(made).item() == pytest.approx(by_hand, rel=1e-9)


@pytest.mark.parametrize("name", ["coral", "mmd", "jan", "mcd"])
def test_domains_that_are_alike_have_nothing_between_them(name: str) -> None:
    given = batch(12, 12)
    made = method(name)
    if name == "mcd":
        made.other = copy.deepcopy(made.head)
    assert given._replace(xt=given.xs.flip(0)).term(made).item() == pytest.approx(0, abs=1e-12)


# Details of one method


def test_stepwise_norms_have_the_gradient_of_the_authors_formula() -> None:
    made, given = method("afn", step=0.3, weight=1.0, strength=1.0), batch()
    total = torch.zeros((), dtype=torch.float64)
    for x in (given.xs, given.xt):
        norms = made.features(x).norm(dim=1)
        total = total + (norms - (norms.detach() + 0.3)).square().mean() / 2
    torch.testing.assert_close(gradients(given.term(made), made.features), gradients(total, made.features))


def test_hard_norms_go_towards_the_radius() -> None:
    made = AFN(nn.Identity(), nn.Linear(2, 3), radius=3.0, weight=1.0, strength=1.0)
    xs, xt = torch.tensor([[3.0, 4.0], [0.0, 3.0]]), torch.tensor([[1.0, 0.0]])
    made(xs, torch.tensor([0, 1]), xt)
    assert made.figures["term"].item() == pytest.approx(((4 + 0) / 2 + 4) / 2)


def test_the_largest_singular_values_are_added_up() -> None:
    made, given = method("bsp", largest=2, weight=1.0), batch()
    with torch.no_grad():
        values = [np.linalg.svd(z.numpy())[1] for z in seen_by(made, given)[:4:3]]
    expected = mean(float((s[:2] ** 2).sum()) / n for s, n in zip(values, (12, 8), strict=True))
    assert given.term(made).item() == pytest.approx(expected)


def test_projections_stand_for_a_large_product() -> None:
    made = CDAN(nn.Identity(), nn.Linear(600, 10))
    random = torch.Generator().manual_seed(0)
    z, other = torch.randn(2, 600, generator=random)
    p, q = torch.rand(2, 10, generator=random)
    ours, theirs = made.conditioned(torch.stack([z, other]), torch.stack([p, q]))
    assert ours.shape == (1024,)
    norm = float(z.norm() * p.norm())
    assert float(ours.norm()) == pytest.approx(norm, rel=0.15)
    assert float(ours @ theirs) == pytest.approx(float((z @ other) * (p @ q)), abs=0.15 * norm**2)
    assert torch.equal(CDAN(nn.Identity(), nn.Linear(600, 10)).of_features, made.of_features)


def test_the_confusion_of_classes_that_nobody_predicts_is_0() -> None:
    made = method("mcc", features=nn.Identity())
    made.head = nn.Identity()
    logits = torch.tensor([[1e6, 0.0, 0.0], [1e6, 0.0, 0.0]], requires_grad=True)
    term = made.term(Seen(logits, logits, torch.zeros(2), logits, logits, torch.zeros(2), logits, logits, logits))
    term.backward()
    assert term.item() == 0
    assert bool(logits.grad.isfinite().all())  # type: ignore[union-attr]


def test_classes_that_the_target_lacks_count_less_and_less() -> None:
    made, given = method("partial", momentum=0.75), batch()
    assert isinstance(made, PADA)
    with torch.no_grad():
        seen = seen_by(made, given)
        predicted = torch.softmax(seen.target_logits, dim=1).mean(0)
    given.loss(made)
    shares = 0.75 / 3 + 0.25 * predicted
    torch.testing.assert_close(made.shares, shares)
    weights = (shares / shares.max()).tolist()
    given.loss(made)
    task = mean(
        -weights[y] * math.log(softmax(row)[y]) for y, row in zip(given.ys.tolist(), seen.source_logits, strict=True)
    )
    assert made.figures["task"].item() == pytest.approx(task)
    source, target = judged(made.critic, seen.source, seen.target)
    ours = sum(weights[y] * softplus(-f) for y, f in zip(given.ys.tolist(), source, strict=True))
    ours /= sum(weights[y] for y in given.ys.tolist())
    expected = (ours + mean(softplus(f) for f in target)) / 2
    assert made.figures["term"].item() == pytest.approx(expected)


def test_a_chance_of_one_half_to_be_unknown_has_no_slope() -> None:
    made, given = method("open-set"), batch()
    with torch.no_grad():
        made.head.weight.zero_()  # type: ignore[union-attr, operator]
        made.head.bias.copy_(torch.tensor([1.0, 1.0, 1.0, 3.0], dtype=torch.float64).log())  # type: ignore[union-attr, operator]
    term = given.term(made)
    assert term.item() == pytest.approx(math.log(2))
    assert gradients(term, made).abs().max() < 1e-12


def test_labels_must_leave_the_last_output_to_the_unknown() -> None:
    given = batch()
    with pytest.raises(ValueError, match="labels go up to 3 and the head has 4 outputs"):
        given._replace(ys=given.ys + 1).loss(method("open-set"))


@pytest.mark.parametrize("name", ["multi-source", "generalisation"])
def test_sources_that_are_not_in_a_batch_are_left_out(name: str) -> None:
    made, given = method(name, sources=3), batch()
    term = given.term(made)
    assert math.isfinite(term.item())
    if name == "multi-source":
        assert not gradients(term, made.critics[2]).any()  # type: ignore[index, arg-type]
    with pytest.raises(ValueError, match="domains go from 3 to 4, and the method was made for 3"):
        given._replace(domains=given.domains + 3).loss(made)


def test_a_kernel_does_not_depend_on_the_scale_of_features() -> None:
    given = batch()
    small, large = (
        given._replace(xs=factor * given.xs, xt=factor * given.xt).term(MMD(nn.Identity(), nn.Linear(4, 3).double()))
        for factor in (1e-3, 1e3)
    )
    torch.testing.assert_close(small, large)


def test_the_width_of_a_kernel_is_not_adapted_through() -> None:
    made, given = method("mmd", strength=1.0), batch()
    z = torch.cat([made.features(given.xs), made.features(given.xt)])
    squares = (z[:, None] - z).square().sum(2)
    k = torch.stack([torch.exp(-squares / (c * squares.mean().item())) for c in (0.25, 0.5, 1, 2, 4)]).mean(0)
    expected = k[:12, :12].mean() + k[12:, 12:].mean() - 2 * k[:12, 12:].mean()
    torch.testing.assert_close(gradients(given.term(made), made.features), gradients(expected, made.features))


@pytest.mark.parametrize("name", ["dann", "adda", "multi-source", "generalisation"])
def test_the_accuracy_of_a_critic_counts_domains_alike(name: str) -> None:
    made: Any = method(name)
    given = batch()
    given.loss(made)
    with torch.no_grad():
        seen = seen_by(made, given)
        told = made.critics[0](seen.source) if name == "multi-source" else made.critic(seen.source)
        if name == "generalisation":
            right = [told.argmax(1)[seen.domains == own] == own for own in (0, 1)]
        else:
            right = [told > 0, (made.critics[0] if name == "multi-source" else made.critic)(seen.target) <= 0]
    if name == "multi-source":
        given._replace(domains=torch.zeros_like(given.domains)).loss(made)
    expected = mean(each.double().mean().item() for each in right)
    assert made.figures["domain accuracy"].item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", ["minimax", "nonsaturating"])
@pytest.mark.parametrize("sure", [1.0, 200.0])
def test_what_features_feel_of_a_critic(loss: str, sure: float) -> None:
    made, given = method("dann", strength=1.0, loss=loss), batch()
    critic: Any = made.critic
    with torch.no_grad():
        for parameter in critic[-1].parameters():
            parameter.mul_(sure)
    n = len(given.xs)
    logits = critic(made.features(torch.cat([given.xs, given.xt]))).reshape(-1)
    ours, theirs = logits[:n], logits[n:]
    kept = (softplus_of(-ours).mean() + softplus_of(theirs).mean()) / 2
    swapped = (softplus_of(ours).mean() + softplus_of(-theirs).mean()) / 2
    expected = gradients(swapped if loss == "nonsaturating" else -kept, made.features)
    torch.testing.assert_close(gradients(given.term(made), made.features), expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradients(given.term(made), critic), gradients(kept, critic), rtol=1e-9, atol=1e-12)


# Who moves which way


def _term_after(made: Method, given: Batch, module: nn.Module, along: float) -> float:
    """The term after a small step of one player along minus its gradient of the loss's term."""
    moved = copy.deepcopy(made)
    names = {id(parameter): name for name, parameter in made.named_parameters()}
    mine = [parameter for parameter in module.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(given.term(made), mine)
    theirs = dict(moved.named_parameters())
    with torch.no_grad():
        for parameter, grad in zip(mine, found, strict=True):
            theirs[names[id(parameter)]] -= along * grad
    return given.term(moved).item()


PLAYERS = [
    ("dann", "critic"),
    ("cdan", "critic"),
    ("mcd", "head"),
    ("mcd", "other"),
    ("mdd", "other"),
    ("open-set", "head"),
    ("multi-source", "critics"),
    ("partial", "critic"),
    ("generalisation", "critic"),
]


@pytest.mark.parametrize(("name", "player"), PLAYERS)
def test_players_behind_the_gate_lower_the_term_and_features_raise_it(name: str, player: str) -> None:
    made, given = method(name, strength=1.0).eval(), batch()
    now = given.term(made).item()
    assert _term_after(made, given, getattr(made, player), 1e-4) < now
    assert _term_after(made, given, made.features, 1e-4) > now


@pytest.mark.parametrize("name", ["mcc", "afn", "coral", "mmd", "jan", "bsp", "self-training"])
def test_features_that_cooperate_lower_the_term(name: str) -> None:
    made, given = method(name, strength=1.0).eval(), batch()
    assert _term_after(made, given, made.features, 1e-4) < given.term(made).item()


def test_the_heads_of_mcd_disagree_more_and_its_features_make_them_agree() -> None:
    made, given = method("mcd", strength=1.0), batch()
    apart = -given.term(made).item()
    assert -_term_after(made, given, made.head, 1e-3) > apart
    assert -_term_after(made, given, made.features, 1e-3) < apart


def test_the_target_of_adda_goes_where_the_critic_says_source() -> None:
    made, given = method("adda", strength=1.0), batch()
    assert isinstance(made, ADDA)
    given.loss(made)

    def said(each: Method) -> tuple[float, float]:
        seen = seen_by(each, given)
        source, target = judged(each.critic, seen.source, seen.target)  # type: ignore[attr-defined]
        return critic_loss(source, target), mean(target)

    loss, logit = said(made)
    for player, falls, rises in (("critic", True, False), ("target_features", False, True)):
        moved = copy.deepcopy(made)
        mine = list(getattr(moved, player).parameters())
        found = torch.autograd.grad(given.term(moved), mine)
        with torch.no_grad():
            for parameter, grad in zip(mine, found, strict=True):
                parameter -= 1e-3 * grad
        after, to = said(moved)
        assert (after < loss) == falls
        assert (to > logit) == rises
    fixed = nn.ModuleList([made.features, made.head])
    assert not gradients(given.loss(made), fixed).any()


def test_adda_is_source_only_then_its_target_alone_moves() -> None:
    made = method("adda", pretrain=3)
    alone = METHODS["source"](copy.deepcopy(made.features), copy.deepcopy(made.head))
    one, other = (torch.optim.AdamW(each.parameters(), lr=0.01) for each in (made, alone))
    for step in range(3):
        for each, optimizer in ((made, one), (alone, other)):
            loss = batch(seed=step).loss(each)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert "term" not in made.figures
    expected = {name: value.clone() for name, value in alone.features.named_parameters()}
    for name, value in made.features.named_parameters():
        torch.testing.assert_close(value, expected[name])
    torch.testing.assert_close(made.predict(batch().xt), alone.predict(batch().xt))
    head = copy.deepcopy(made.head.state_dict())
    for step in range(3, 6):
        loss = batch(seed=step).loss(made)
        if step == 3:  # the copy is of what the pretraining has learnt
            for name, value in adapted(made).named_parameters():
                assert torch.equal(value, dict(made.features.named_parameters())[name])
        one.zero_grad()
        loss.backward()
        one.step()
    for name, value in made.features.named_parameters():
        torch.testing.assert_close(value, expected[name])
    assert all(torch.equal(value, head[name]) for name, value in made.head.state_dict().items())
    apart = [(a - b).abs().max() for a, b in zip(adapted(made).parameters(), made.features.parameters(), strict=True)]
    assert min(apart) > 1e-3
    torch.testing.assert_close(made.predict(batch().xt), made.head(made.target_features(batch().xt)).detach())  # type: ignore[operator]


def test_both_heads_of_mcd_learn_the_task_and_answer() -> None:
    made, given = method("mcd", strength=0.0), batch()
    z = made.features(given.xs)
    losses = [cross_entropy(head(z), given.ys) for head in (made.head, made.other)]  # type: ignore[operator]
    given.loss(made)
    torch.testing.assert_close(made.figures["task"], (sum(losses) / 2).detach())  # type: ignore[union-attr]
    z = made.features(given.xt)
    torch.testing.assert_close(made.predict(given.xt), ((made.head(z) + made.other(z)) / 2).detach())  # type: ignore[operator]
    assert not torch.equal(made.head.weight, made.other.weight)  # type: ignore[union-attr, arg-type]


def test_a_head_that_cannot_be_drawn_anew_needs_another() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(6, 3))

        def forward(self, z: Tensor) -> Tensor:
            return z @ self.weight

    for name in ("mcd", "mdd"):
        with pytest.raises(ValueError, match="Fixed cannot be drawn anew: give other="):
            METHODS[name](nn.Linear(4, 6), Fixed())
        METHODS[name](nn.Linear(4, 6), Fixed(), other=nn.Linear(6, 3))  # type: ignore[call-arg]
