"""What each transformation does beyond the contract: whole vectors, names, memory."""

import math

import pytest
import torch
import torch._dynamo
from torch import nn

import gradtape as gt
from gradtape.errors import GradientError, InputError
from gradtape.transforms import Transform

SHAPES = [(3, 4), (3,), (2, 3, 2), ()]


def optimizer_with_gradients(
    seed: int = 0, momentum: float = 0.0
) -> tuple[torch.optim.Optimizer, nn.ParameterList, list[torch.Tensor]]:
    random = torch.Generator().manual_seed(seed)
    parameters = nn.ParameterList([nn.Parameter(torch.randn(shape, generator=random)) for shape in SHAPES])
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=random)
    grads = [parameter.grad.clone() for parameter in parameters]
    return torch.optim.SGD(parameters, lr=1.0, momentum=momentum), parameters, grads


def moved(transform: Transform, seed: int = 0) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
    """Return weights before, gradients before, and what the step took away from the weights."""
    optimizer, parameters, grads = optimizer_with_gradients(seed)
    before = [parameter.detach().clone() for parameter in parameters]
    transform.on(optimizer)
    optimizer.step()
    return before, grads, [old - new.detach() for old, new in zip(before, parameters, strict=True)]


@pytest.mark.parametrize("seed", range(4))
def test_clip_by_norm_is_torchs_on_all_parameters_as_one_vector(seed: int) -> None:
    _, grads, took = moved(gt.Clip(0.7), seed)
    twin = [nn.Parameter(torch.zeros_like(grad)) for grad in grads]
    for parameter, grad in zip(twin, grads, strict=True):
        parameter.grad = grad.clone()
    nn.utils.clip_grad_norm_(twin, 0.7)
    for mine, theirs in zip(took, twin, strict=True):
        torch.testing.assert_close(mine, theirs.grad, rtol=1e-5, atol=1e-6)
    assert math.sqrt(sum(float(part.square().sum()) for part in took)) == pytest.approx(0.7, rel=1e-5)


def test_clip_leaves_what_is_within_the_bound() -> None:
    _, grads, took = moved(gt.Clip(1e3))
    for mine, grad in zip(took, grads, strict=True):
        torch.testing.assert_close(mine, grad)
    assert gt.Clip(5.0).gradient(torch.tensor([3.0, 4.0])).tolist() == [3.0, 4.0]
    assert gt.Clip(1.0).gradient(torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]


def test_clip_per_tensor() -> None:
    _, grads, took = moved(gt.Clip(0.5, per="tensor"))
    for mine, grad in zip(took, grads, strict=True):
        torch.testing.assert_close(mine, grad * min(1.0, 0.5 / float(grad.norm())))


def test_clip_by_unit_is_adaptive_gradient_clipping() -> None:
    before, grads, took = moved(gt.Clip(0.1, by="unit"))
    for weight, grad, mine in zip(before, grads, took, strict=True):
        rows_w = weight.reshape(1, -1) if weight.dim() < 2 else weight.flatten(1)
        rows_g = grad.reshape(1, -1) if grad.dim() < 2 else grad.flatten(1)
        expected = torch.stack(
            [
                g * min(1.0, 0.1 * max(float(w.norm()), 1e-3) / float(g.norm()))
                for w, g in zip(rows_w, rows_g, strict=True)
            ]
        )
        torch.testing.assert_close(mine, expected.reshape(grad.shape), rtol=1e-5, atol=1e-6)


def test_clip_by_unit_lets_weights_leave_zero() -> None:
    weight = nn.Parameter(torch.zeros(2, 3))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    gt.Clip(0.1, by="unit").on(optimizer)
    weight.grad = torch.tensor([[3.0, 0.0, 4.0], [1e-5, 0.0, 0.0]])
    optimizer.step()
    torch.testing.assert_close(weight.detach(), -torch.tensor([[0.6e-4, 0.0, 0.8e-4], [1e-5, 0.0, 0.0]]))


@pytest.mark.parametrize("onto", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_project_has_one_inner_product_over_all_parameters(seed: int, onto: bool) -> None:
    random = torch.Generator().manual_seed(100 + seed)
    directions = [torch.randn(shape, generator=random) for shape in SHAPES]
    _, grads, took = moved(gt.Project(directions, onto=onto), seed)
    g, d = (torch.cat([part.flatten() for part in parts]) for parts in (grads, directions))
    along = (g @ d) / (d @ d) * d
    expected = along if onto else g - along
    torch.testing.assert_close(torch.cat([part.flatten() for part in took]), expected, rtol=1e-5, atol=1e-5)
    if not onto:
        assert abs(float(torch.cat([part.flatten() for part in took]) @ d)) < 1e-4


def test_project_off_another_losss_gradient() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    x = torch.randn(5, 3)
    task, other = (lambda: model(x)[:, 0].square().mean()), (lambda: (model(x)[:, 0] - 1).square().mean())
    other_grads = torch.autograd.grad(other(), list(model.parameters()))
    task_grads = torch.autograd.grad(task(), list(model.parameters()))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = [p.detach().clone() for p in model.parameters()]
    gt.Project(other).on(optimizer)
    task().backward()
    optimizer.step()
    g, d = (torch.cat([part.flatten() for part in parts]) for parts in (task_grads, other_grads))
    took = torch.cat([(old - new.detach()).flatten() for old, new in zip(before, model.parameters(), strict=True)])
    torch.testing.assert_close(took, g - (g @ d) / (d @ d) * d)
    assert all(p.grad is not None and not p.grad.requires_grad for p in model.parameters())


def test_project_by_name_and_in_conflict_only() -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    transform = gt.Project({"weight": torch.tensor([[1.0, 0.0]])}, when="conflict")
    attachment = transform.on(optimizer, model)
    for sign in (1.0, -1.0):
        before = [p.detach().clone() for p in model.parameters()]
        model.weight.grad, model.bias.grad = torch.tensor([[sign, 5.0]]), torch.tensor([7.0])
        optimizer.step()
        assert (before[0] - model.weight.detach()).tolist() == [[max(sign, 0.0), 5.0]]
        assert (before[1] - model.bias.detach()).item() == pytest.approx(7.0)
    attachment.remove()
    with pytest.raises(InputError, match="no parameter is called 'wieght'"):
        gt.Project({"wieght": torch.ones(1, 2)}).on(optimizer, model)
    with pytest.raises(InputError, match="goes by names"):
        gt.Project({"weight": torch.ones(1, 2)}).on(optimizer)
    with pytest.raises(InputError, match=r"shape \(2,\) and the parameter \(1, 2\)"):
        gt.Project([torch.ones(2), torch.ones(1)]).on(optimizer)
    with pytest.raises(InputError, match="1 directions were given for 2 parameters"):
        gt.Project([torch.ones(1, 2)]).on(optimizer)
    gt.Project(lambda: torch.ones((), requires_grad=True) * 2).on(optimizer)
    model.weight.grad = torch.ones(1, 2)
    with pytest.raises(InputError, match="reaches no parameter"):
        optimizer.step()


def test_project_refuses_what_does_not_fit() -> None:
    with pytest.raises(InputError, match="the direction is zero"):
        gt.Project(torch.zeros(3))
    with pytest.raises(InputError, match=r"direction has shape \(2,\) and the gradient \(4, 3\)"):
        gt.Project(torch.ones(2)).gradient(torch.ones(4, 3))
    with pytest.raises(InputError, match="belongs to parameters"):
        gt.Project([torch.ones(2)])(torch.ones(2, requires_grad=True))


@pytest.mark.parametrize("named", [True, False])
def test_mask_by_name_leaves_the_others_alone_momentum_and_decay_included(named: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    held = model.named_parameters() if named else model.parameters()
    optimizer = torch.optim.SGD(held, lr=0.1, momentum=0.9, weight_decay=0.1)

    def step() -> dict[str, bool]:
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer.zero_grad()
        model(torch.ones(4, 2)).sum().backward()
        optimizer.step()
        return {name: not torch.equal(before[name], p.detach()) for name, p in model.named_parameters()}

    assert all(step().values())
    gt.Mask("1.*").on(optimizer, None if named else model)
    assert step() == {"0.weight": False, "0.bias": False, "1.weight": True, "1.bias": True}


def test_mask_by_name_with_tensors_keeps_pruned_weights_at_zero() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    keep = torch.tensor([[True, False], [True, True]])
    gt.Mask({"wei*": keep}).on(optimizer, model)
    before = model.weight.detach().clone(), model.bias.detach().clone()
    model(torch.ones(3, 2)).sum().backward()
    optimizer.step()
    torch.testing.assert_close(before[0] - model.weight.detach(), 0.3 * keep.float())
    torch.testing.assert_close(before[1] - model.bias.detach(), torch.full((2,), 0.3))


def test_mask_refuses_names_it_cannot_use() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(InputError, match="goes by names, and there are none here"):
        gt.Mask("weight").on(optimizer)
    with pytest.raises(InputError, match=r"no parameter is called 'encoder\.\*'.*weight, bias"):
        gt.Mask(["weight", "encoder.*"]).on(optimizer, model)
    with pytest.raises(InputError, match="a tensor has none"):
        gt.Mask("weight")(torch.ones(2))
    with pytest.raises(InputError, match=r"mask has shape \(3,\) and the gradient \(2, 2\)"):
        gt.Mask(torch.ones(3)).gradient(torch.ones(2, 2))
    with pytest.raises(InputError, match=r"mask has shape \(4, 2, 2\)"):
        gt.Mask(torch.ones(4, 2, 2)).gradient(torch.ones(2, 2))
    for nothing in ((), {}):
        with pytest.raises(InputError, match="a mask was made of"):
            gt.Mask(nothing)


def test_a_mask_of_numbers_weighs_and_one_of_booleans_drops_even_nan() -> None:
    assert gt.Mask(torch.tensor([0.5, 2.0])).gradient(torch.tensor([4.0, 4.0])).tolist() == [2.0, 8.0]
    assert gt.Mask(torch.tensor([False, True])).gradient(torch.tensor([math.nan, 4.0])).tolist() == [0.0, 4.0]


def test_noise_has_the_right_size_and_is_new_each_time() -> None:
    grad = torch.zeros(20_000)
    noise = gt.Noise(0.3, seed=1)
    first, second = noise.gradient(grad), noise.gradient(grad)
    for draw in (first, second):
        assert abs(float(draw.mean())) < 4 * 0.3 / math.sqrt(20_000)
        assert float(draw.std()) == pytest.approx(0.3, rel=0.03)
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.03
    assert torch.equal(gt.Noise(0.3, seed=1).gradient(grad), first)
    assert not torch.equal(gt.Noise(0.3, seed=2).gradient(grad), first)
    assert torch.equal(gt.Noise(0.0).gradient(torch.ones(3)), torch.ones(3))


def test_noise_differs_between_parameters_and_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    parameters = [nn.Parameter(torch.zeros(50)) for _ in range(2)]
    optimizer = torch.optim.SGD(parameters, lr=1.0)
    gt.Noise(1.0).on(optimizer)
    for parameter in parameters:
        parameter.grad = torch.zeros(50)
    optimizer.step()
    assert not torch.equal(parameters[0], parameters[1])
    assert torch.equal(torch.get_rng_state(), state)


def test_noise_decays_along_its_schedule() -> None:
    weight = nn.Parameter(torch.zeros(20_000))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    gt.Noise(gt.schedules.power(1.0, 0.5)).on(optimizer)
    for step in range(4):
        before = weight.detach().clone()
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
        assert float((weight.detach() - before).std()) == pytest.approx(1 / math.sqrt(1 + step), rel=0.03)


def test_accumulate_is_one_step_with_the_mean() -> None:
    """Adam's own state included: the twin takes one step per three batches."""
    torch.manual_seed(0)
    model, twin = nn.Linear(3, 1), nn.Linear(3, 1)
    twin.load_state_dict(model.state_dict())
    mine, theirs = (torch.optim.Adam(m.parameters(), lr=0.1, weight_decay=0.1) for m in (model, twin))
    gt.Accumulate(3).on(mine)
    batches = torch.randn(6, 4, 3)
    for batch in batches:
        mine.zero_grad()
        model(batch).square().mean().backward()
        mine.step()
    for group in batches.reshape(2, 3, 4, 3):
        theirs.zero_grad()
        (sum(twin(batch).square().mean() for batch in group) / 3).backward()
        theirs.step()
    torch.testing.assert_close(model.state_dict(), twin.state_dict())
    assert mine.state[model.weight]["step"].item() == 2


def test_accumulate_counts_gradients_that_are_absent_as_zero() -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD(weights, lr=1.0)
    gt.Accumulate(2).on(optimizer)
    for index in (0, 1):
        optimizer.zero_grad()
        (2 * weights[index]).sum().backward()
        optimizer.step()
    assert [weight.item() for weight in weights] == [-1.0, -1.0]


def test_accumulate_goes_on_after_a_reload_and_refuses_tensors() -> None:
    one, other = gt.Accumulate(2), gt.Accumulate(2)
    assert one.gradient(torch.tensor([1.0])).item() == 0.0
    other.load_state_dict(one.state_dict())
    assert other.gradient(torch.tensor([3.0])).item() == 2.0
    with pytest.raises(InputError, match="only some of the gradients"):
        gt.Accumulate(2)(torch.ones(1, requires_grad=True))
    for steps in (0, 1.5, True):
        with pytest.raises(InputError, match="steps is"):
            gt.Accumulate(steps)


def test_ema_by_hand() -> None:
    average = gt.EMA(0.9)
    sums = 0.0
    for step, size in enumerate([1.0, -2.0, 5.0], start=1):
        sums = 0.9 * sums + 0.1 * size
        assert average.gradient(torch.tensor([size])).item() == pytest.approx(sums / (1 - 0.9**step), rel=1e-5)
    with pytest.raises(InputError, match=r"shape \(1,\) and was given \(2,\)"):
        average.gradient(torch.ones(2))
    with pytest.raises(InputError, match="decay is 1"):
        gt.EMA(1.0)


def test_a_step_that_is_not_finite_is_dropped_whole() -> None:
    weights = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = torch.optim.Adam(weights, lr=0.1, weight_decay=0.1)
    skip = gt.SkipNonfinite(stop_after=3)
    skip.on(optimizer)

    def step(value: float) -> None:
        weights[0].grad, weights[1].grad = torch.ones(2), torch.tensor([1.0, value])
        optimizer.step()

    step(1.0)
    before = [weight.detach().clone() for weight in weights]
    moments = optimizer.state[weights[0]]["exp_avg"].clone()
    for bad in (math.nan, math.inf):
        step(bad)
    assert all(torch.equal(old, new) for old, new in zip(before, weights, strict=True))
    assert torch.equal(optimizer.state[weights[0]]["exp_avg"], moments)
    assert (skip.skipped, skip.in_a_row) == (2, 2)
    step(1.0)
    assert (skip.skipped, skip.in_a_row) == (2, 0)
    assert not torch.equal(before[0], weights[0])
    step(math.nan)
    step(math.nan)
    before = [weight.detach().clone() for weight in weights]
    with pytest.raises(GradientError, match="3 gradients in a row were not finite"):
        step(math.nan)
    assert all(torch.equal(old, new) for old, new in zip(before, weights, strict=True))


def test_functional_twins() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    direction, keep = torch.tensor([1.0, -1.0]), torch.tensor([True, False])
    pairs = [
        (lambda v: gt.reverse(v, 0.5), gt.Reverse(0.5)),
        (lambda v: gt.scale(v, 3.0), gt.Scale(3.0)),
        (lambda v: gt.clip(v, 0.5), gt.Clip(0.5)),
        (lambda v: gt.clip(v, 0.5, by="value"), gt.Clip(0.5, by="value")),
        (lambda v: gt.noise(v, 0.5, seed=4), gt.Noise(0.5, seed=4)),
        (lambda v: gt.project(v, direction, onto=True), gt.Project(direction, onto=True)),
        (lambda v: gt.mask(v, keep), gt.Mask(keep)),
        (gt.centralize, gt.Centralize()),
        (lambda v: gt.normalize(v, per="sample"), gt.Normalize(per="sample")),
    ]
    grad = torch.tensor([[1.0, -2.0], [0.3, 0.4]])
    for function, transform in pairs:
        leaf = x.clone().requires_grad_()
        made = function(leaf)
        assert torch.equal(made, x)
        made.backward(grad)
        torch.testing.assert_close(leaf.grad, transform.gradient(grad))


def test_a_dropped_step_stays_dropped_in_a_chain() -> None:
    for chain in (
        gt.chain(gt.SkipNonfinite(), gt.Project([torch.ones(2)])),
        gt.chain(gt.Accumulate(4), gt.Project([torch.ones(2)])),
    ):
        weight = nn.Parameter(torch.ones(2))
        optimizer = torch.optim.SGD([weight], lr=0.1, weight_decay=0.5)
        chain.on(optimizer)
        weight.grad = torch.tensor([math.nan, 1.0])
        optimizer.step()
        assert weight.tolist() == [1.0, 1.0]


def test_held_back_steps_do_not_hide_that_all_others_are_bad() -> None:
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    skip = gt.SkipNonfinite(stop_after=3)
    gt.chain(gt.Accumulate(2), skip).on(optimizer)
    with pytest.raises(GradientError, match="3 gradients in a row"):
        for _ in range(6):
            weight.grad = torch.tensor([math.nan])
            optimizer.step()


def test_project_leaves_frozen_parameters_and_those_without_a_gradient() -> None:
    learning, frozen, idle = (nn.Parameter(torch.ones(2), requires_grad=at != 1) for at in range(3))
    optimizer = torch.optim.SGD([learning, frozen, idle], lr=0.1)
    gt.Project([torch.ones(2)] * 3).on(optimizer)
    learning.grad = torch.tensor([1.0, 3.0])
    optimizer.step()
    torch.testing.assert_close(learning.detach(), torch.tensor([1.1, 0.9]))
    assert frozen.tolist() == idle.tolist() == [1.0, 1.0]
