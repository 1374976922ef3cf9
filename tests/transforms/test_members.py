"""What each transformation does beyond the contract: whole vectors, names, memory, bad input."""

import copy
import math
import pickle

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


def test_clip_of_half_precision_does_not_overflow() -> None:
    grad = torch.full((40_000,), 400.0, dtype=torch.float16)  # the norm, 80,000, is beyond half precision
    expected = torch.full((40_000,), 100 / 200, dtype=torch.float16)
    torch.testing.assert_close(gt.Clip(100.0).gradient(grad), expected)


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


def test_large_finite_gradients_are_no_reason_to_skip() -> None:
    grad = torch.full((1000,), 6e4, dtype=torch.float16)
    assert torch.equal(gt.SkipNonfinite().gradient(grad), grad)


def test_sparse_gradients_are_refused_by_name() -> None:
    model = nn.Embedding(4, 2, sparse=True)
    optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)
    gt.Clip(1.0).on(optimizer)
    model(torch.tensor([1])).sum().backward()
    with pytest.raises(InputError, match="the gradient of parameter weight is sparse"):
        optimizer.step()


def test_parameters_added_to_an_optimizer_later_are_transformed_too() -> None:
    first, second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([first], lr=1.0)
    gt.Reverse().on(optimizer)
    optimizer.add_param_group({"params": [second]})
    first.grad, second.grad = torch.ones(1), torch.ones(1)
    optimizer.step()
    assert (first.item(), second.item()) == (1.0, 1.0)


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


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: gt.Clip(torch.tensor(-1.0)), "limit is -1.0: give a finite number of at least 0.0"),
        (lambda: gt.Clip(1.0, by="size"), "by is 'size': use one of 'norm', 'value', 'unit'"),
        (lambda: gt.Clip(1.0, per="batch"), "per is 'batch': use one of 'all', 'tensor', 'sample'"),
        (lambda: gt.Clip(1.0, by="value", per="sample"), "per goes with by='norm'"),
        (lambda: gt.Clip(1.0, by="unit")(torch.ones(2, requires_grad=True)), "compares gradients with weights"),
        (lambda: gt.Clip(1.0, by="unit").gradient(torch.ones(2)), "needs the weights"),
        (lambda: gt.Normalize(per="row"), "per is 'row'"),
        (lambda: gt.Noise(-0.1), "std is -0.1: give a finite number of at least 0.0"),
        (lambda: gt.Project(torch.ones(2), when="never"), "when is 'never'"),
        (lambda: gt.SkipNonfinite(0), "stop_after is 0"),
        (lambda: gt.Reverse(torch.tensor(math.inf)), "strength is"),
        (lambda: gt.Scale(torch.tensor(math.nan)), "factor is"),
        (lambda: gt.Reverse("strong"), "strength is 'strong': give a finite number"),
        (lambda: gt.reverse(torch.ones(1), math.inf), "strength is inf"),
        (lambda: gt.scale(torch.ones(1), torch.ones(2)), "factor has shape"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(make: object, says: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert says in str(caught.value)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_scaled_gradients_are_unscaled_before_they_are_transformed(fused: bool, kind: type) -> None:
    weight = nn.Parameter(torch.ones(4))
    optimizer = kind([weight], lr=1.0, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    average = gt.EMA(0.5)
    gt.chain(gt.Clip(1.0), average).on(optimizer)
    for value in (3.0, math.inf, 3.0):
        optimizer.zero_grad()
        before = weight.detach().clone()
        scaler.scale((weight * value).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        took = before - weight.detach()
        if math.isinf(value):
            assert torch.equal(took, torch.zeros(4))  # the scaler skips the step, and nothing remembers it
        elif kind is torch.optim.SGD:
            torch.testing.assert_close(took, torch.full((4,), 0.5))
    if kind is torch.optim.Adam:
        torch.testing.assert_close(optimizer.state[weight]["exp_avg"], torch.full((4,), 0.5 * (1 - 0.9**2)))
    assert average.state_dict()["counts"].tolist() == [[0, 2]]


def test_what_remembers_is_not_moved_by_two() -> None:
    first, second = (torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0) for _ in range(2))
    for make in (
        lambda: gt.Accumulate(2),
        lambda: gt.EMA(0.5),
        lambda: gt.Reverse(gt.schedules.dann(10)),
        lambda: gt.chain(gt.Scale(2.0), gt.EMA(0.5)),
    ):
        transform = make()
        attachment = transform.on(first)
        for again in (lambda t=transform: t.on(second), lambda t=transform: t.follow(first)):
            with pytest.raises(InputError, match="goes with the steps of an optimizer already"):
                again()
        attachment.remove()
        transform.on(second)
    constant = gt.Clip(1.0)
    constant.on(first)
    constant.on(second)


def test_a_transformation_at_a_submodule_that_is_never_called_says_so() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.weights = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(self.used(x), self.weights.weight)

    model = Functional()
    gt.Scale(0.0).at(model, "weights")
    gt.Scale(2.0).at(model, "used")
    with pytest.warns(UserWarning, match=r"Functional ran and did not call its submodule 'weights', so Scale"):
        model(torch.ones(1, 2))
    model(torch.ones(1, 2))  # once is enough
    with pytest.raises(InputError, match="'0' is a ModuleList, which is never called"):
        gt.Scale(2.0).at(nn.Sequential(nn.ModuleList()), "0")
    for transform in (gt.Accumulate(2), gt.Mask("0.*"), gt.Clip(0.1, by="unit"), gt.chain(gt.Scale(2.0), gt.Mask("0"))):
        with pytest.raises(InputError, match="tensor"):
            transform.at(nn.Sequential(nn.Linear(2, 2)), "0")


def test_a_model_with_an_attached_transformation_can_be_pickled_and_copied() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    gt.EMA(0.5).at(model, "0")
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        for twin in (model, other):  # each with an average of its own
            x = torch.ones(1, 2, requires_grad=True)
            twin(x).sum().backward()
            torch.testing.assert_close(x.grad, twin[1].weight @ twin[0].weight)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: gt.Reverse().on(nn.Linear(2, 2)), "put on a Linear, which is no optimizer"),
        (lambda: gt.Reverse().follow([]), "put on a list"),
        (lambda: gt.Reverse().at(torch.ones(2), "0"), "a Tensor has no submodules"),
        (lambda: gt.Reverse().at(nn.Linear(2, 2), "foo"), "no submodule 'foo': use one of '', the model itself"),
        (lambda: gt.Reverse()(3.0), "a float has no gradient: give a tensor"),
        (lambda: gt.Clip()([1.0]), "a list has no gradient: give a tensor"),
        (lambda: gt.Mask(3), "a mask was made of 3"),
        (lambda: gt.Project("a"), "the direction is 'a'"),
        (lambda: gt.reverse(torch.ones(1), gt.schedules.dann(3)), "give the schedule to the class"),
        (lambda: gt.Mask("0").on(SGD(), NET), "'0.*' is all of that submodule"),
        (lambda: gt.Mask("0.*").on(SGD(), nn.Linear(2, 2)), "the optimizer holds no parameter of this Linear"),
        (lambda: setattr(gt.Reverse(gt.schedules.dann(3)), "position", 2.5), "the position of strength is 2.5"),
    ],
)
def test_wrong_things_are_refused_in_one_sentence(call: object, says: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert says in str(caught.value)


NET = nn.Sequential(nn.Linear(2, 2))


def SGD() -> torch.optim.Optimizer:  # noqa: N802
    return torch.optim.SGD(NET.parameters(), lr=0.1)


def test_a_tensor_that_turns_bad_later_is_refused_when_it_is_used() -> None:
    limit = torch.tensor(1.0)
    clip = gt.Clip(limit)
    limit.fill_(-1.0)
    with pytest.raises(InputError, match=r"limit is -1\.0"):
        clip.gradient(torch.ones(2))


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


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_huge_and_tiny_gradients_keep_their_direction(size: float) -> None:
    grad = size * torch.tensor([3.0, 4.0])
    unit = torch.tensor([0.6, 0.8])
    torch.testing.assert_close(gt.Normalize().gradient(grad), unit)
    torch.testing.assert_close(gt.Normalize(per="sample").gradient(grad[None]), unit[None])
    limit = min(size, 1.0) / 8
    torch.testing.assert_close(gt.Clip(limit).gradient(grad) / limit, unit)
    torch.testing.assert_close(gt.Project(size * torch.tensor([1.0, 0.0])).gradient(unit), torch.tensor([0.0, 0.8]))
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    gt.Project([size * torch.tensor([1.0, 0.0])]).on(optimizer)
    weight.grad = unit.clone()
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([0.0, -0.8]))


def test_second_derivatives_at_a_gradient_of_zero_are_finite() -> None:
    for make in (lambda: gt.Clip(1.0, per="sample"), gt.Clip, lambda: gt.Normalize(per="sample"), gt.Normalize):
        x = torch.tensor([[0.0, 0.0], [1.0, 2.0]], requires_grad=True)
        (first,) = torch.autograd.grad((make()(x) ** 2).sum(), x, create_graph=True)
        first.sum().backward()
        assert bool(torch.isfinite(x.grad).all())


def test_memory_of_half_precision_is_kept_in_more() -> None:
    average = gt.EMA(0.999)
    for _ in range(2000):
        made = average.gradient(torch.ones(1, dtype=torch.bfloat16))
    assert (made.item(), made.dtype) == (1.0, torch.bfloat16)
    several = gt.Accumulate(4)
    for _ in range(4):
        made = several.gradient(torch.full((1,), 30_000.0, dtype=torch.float16))
    assert (made.item(), made.dtype) == (30_000.0, torch.float16)


def test_types_without_a_meaning_here_are_refused() -> None:
    for call in (
        lambda: gt.Project(torch.tensor([1.0, 1j])),
        lambda: gt.Mask(torch.tensor([1j])),
        lambda: gt.Reverse(torch.tensor(1j)),
        lambda: gt.Reverse()(torch.eye(2).to_sparse()),
    ):
        with pytest.raises(InputError):
            call()


def test_tensors_without_dimensions_keep_their_type() -> None:
    for dtype in (torch.float16, torch.float32):
        x = torch.ones((), dtype=dtype, requires_grad=True)
        y = gt.Reverse(torch.tensor(0.5, dtype=torch.float64))(x)
        y.backward()
        assert (y.dtype, x.grad.dtype, x.grad.item()) == (dtype, dtype, -0.5)


@pytest.mark.filterwarnings(r"ignore:`torch\.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`isinstance:FutureWarning")  # torch's own
def test_complex_numbers_in_exported_programs_and_double_precision_in_compiled_code() -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.view_as_real(gt.reverse(x * 1.0, 0.5)).square().sum()

    for dtype in (torch.complex64, torch.complex128):
        x = torch.tensor([1 + 2j, -0.5j], dtype=dtype)
        program = torch.export.export(Net(), (x,)).run_decompositions().module()
        leaf = x.clone().requires_grad_()
        program(leaf).backward()
        torch.testing.assert_close(leaf.grad, -0.5 * 2 * x)
    leaf = torch.ones(2, dtype=torch.float64, requires_grad=True)
    reverse = gt.Reverse(0.1)
    torch.compile(lambda v: reverse(v).sum(), backend="aot_eager")(leaf).backward()
    assert leaf.grad.tolist() == [-0.1, -0.1]


def test_attached_after_a_model_was_compiled_it_works_and_so_does_taking_it_off() -> None:
    torch._dynamo.reset()
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    compiled = torch.compile(model, backend="aot_eager")

    def slope() -> torch.Tensor:
        model.zero_grad()
        compiled(torch.ones(1, 2)).sum().backward()
        return model[0].weight.grad.clone()

    plain = slope()
    attachment = gt.Reverse(0.5).at(model, "0")
    torch.testing.assert_close(slope(), -0.5 * plain)
    attachment.remove()
    torch.testing.assert_close(slope(), plain)


@pytest.mark.filterwarnings(r"ignore:`torch\.jit:DeprecationWarning")
def test_programs_that_look_for_no_hooks_are_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    for program in (
        torch.export.export(model, (torch.ones(1, 2),)).module(),
        torch.jit.trace(model, (torch.ones(1, 2),)),
    ):
        with pytest.raises(InputError, match="looks for no hooks"):
            gt.Reverse().at(program, "0")


def test_a_closure_keeps_its_place_among_the_arguments_of_step() -> None:
    class Odd(torch.optim.SGD):
        def step(self, closure: object = None, extra: int = 0) -> tuple[object, int]:
            return super().step(closure), extra

    optimizer = Odd([nn.Parameter(torch.ones(1))], lr=1.0)
    gt.Reverse().on(optimizer)
    assert optimizer.step(lambda: 7, 5) == (7, 5)
