"""What every transformation promises, whatever its rule."""

import copy
import io
import pickle

import pytest
import torch
import torch._dynamo
from torch import nn

import gradtape as gt
from gradtape import transforms
from gradtape.errors import InputError
from gradtape.transforms import Transform
from tests.transforms.members import EXPECTED, LINEAR, MEMBERS, REMEMBERING, G

TORCH_WARNS = pytest.mark.filterwarnings(r"ignore:`torch\.jit:DeprecationWarning")  # exporting calls it
EVERY = pytest.mark.parametrize("name", MEMBERS)


def through(transform: Transform, x: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
    leaf = x.clone().requires_grad_()
    made = transform(leaf)
    if not made.requires_grad:
        return torch.zeros_like(x)
    made.backward(grad)
    return leaf.grad


def test_every_class_of_the_room_is_here() -> None:
    classes = {name for name in transforms.__all__ if isinstance(getattr(transforms, name), type)}
    members = {name for name in classes if issubclass(getattr(transforms, name), Transform)} - {"Transform"}
    assert members == {type(make()).__name__ for make in MEMBERS.values()} - {"_Chain"} | {"Accumulate"}


@EVERY
def test_the_value_passes_and_the_gradient_follows_the_rule(name: str) -> None:
    x = torch.tensor([[1.0, -0.0, 3.0], [torch.inf, -2.0, torch.nan]])
    made = MEMBERS[name]()(x.clone().requires_grad_())
    assert torch.equal(made.detach().view(torch.int32), x.view(torch.int32))  # bit for bit
    if name in EXPECTED:
        torch.testing.assert_close(through(MEMBERS[name](), torch.ones(2, 3), G), EXPECTED[name](G))
        torch.testing.assert_close(MEMBERS[name]().gradient(G), EXPECTED[name](G))


@EVERY
def test_on_an_optimizer_it_is_the_same_rule(name: str) -> None:
    weight = nn.Parameter(torch.zeros(2, 3))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    attachment = MEMBERS[name]().on(optimizer)
    kept = G.clone()
    weight.grad = kept
    optimizer.step()
    torch.testing.assert_close(weight.detach(), -MEMBERS[name]().gradient(G))
    assert torch.equal(kept, G)  # the gradient it was given is as it was
    attachment.remove()
    attachment.remove()
    before = weight.detach().clone()
    weight.grad = G.clone()
    optimizer.step()
    torch.testing.assert_close(weight.detach(), before - G)


@EVERY
def test_at_a_submodule_it_is_the_same_rule(name: str) -> None:
    model = nn.Sequential(nn.Identity(), nn.Flatten(0))
    x = torch.ones(2, 3, requires_grad=True)
    with MEMBERS[name]().at(model, "0"):
        out = model(x)
        if out.requires_grad:
            out.backward(G.flatten())
    torch.testing.assert_close(torch.zeros(2, 3) if x.grad is None else x.grad, MEMBERS[name]().gradient(G))
    x.grad = None
    model(x).backward(G.flatten())
    assert torch.equal(x.grad, G)


@EVERY
def test_in_steering_it_is_the_same_rule(name: str) -> None:
    x = torch.ones(2, 3)
    tape = gt.record(lambda v: v * 1.0, x)
    transform = MEMBERS[name]()
    for _ in range(2):  # its memory is not moved by a steering: the second is the same
        steered = tape.steer(
            "input", lambda out: (out * G).sum(), steps=1, lr=1.0, through=transform, optimizer=torch.optim.SGD
        )
        torch.testing.assert_close(steered.value, x - MEMBERS[name]().gradient(G))


@EVERY
def test_dtypes_shapes_and_integers(name: str) -> None:
    transform = MEMBERS[name]()
    assert transform(torch.tensor([1, 2, 3])).tolist() == [1, 2, 3]
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        made = MEMBERS[name]().gradient(G.to(dtype))
        assert made.dtype == dtype
        torch.testing.assert_close(made.double(), MEMBERS[name]().gradient(G).double(), atol=2e-2, rtol=2e-2) if (
            name != "Noise"
        ) else None
    empty = through(MEMBERS[name](), torch.zeros(0, 3), torch.zeros(0, 3))
    assert empty.shape == (0, 3)


@EVERY
def test_an_operation_in_place_right_after_it(name: str) -> None:
    x = torch.tensor([[1.0, -2.0, 3.0]], requires_grad=True)
    inner = x * 1.0
    made = MEMBERS[name]()(inner)
    if made.requires_grad:  # Stop hands on the tensor itself, as detach does
        made.mul_(2.0)
        assert inner.tolist() == [[1.0, -2.0, 3.0]]
        made.backward(G[:1])
        torch.testing.assert_close(x.grad, MEMBERS[name]().gradient(2 * G[:1]))


@EVERY
def test_copies_and_pickles_work_alike(name: str) -> None:
    original = MEMBERS[name]()
    pickled = pickle.loads(pickle.dumps(original))
    for other in (copy.deepcopy(original), pickled):
        assert repr(other) == repr(original)
        assert torch.equal(other.gradient(G), MEMBERS[name]().gradient(G))


@EVERY
def test_a_resumed_transformation_goes_on_where_it_was(name: str) -> None:
    one, other = MEMBERS[name](), MEMBERS[name]()
    for factor in (1.0, 3.0):
        one.gradient(factor * G)
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(one.gradient(-G), other.gradient(-G))


@EVERY
def test_gradients_that_are_not_finite_do_not_become_finite_by_accident(name: str) -> None:
    bad = G.clone()
    bad[0, 0] = torch.nan
    made = MEMBERS[name]().gradient(bad)
    drops = name in ("Stop", "SkipNonfinite")
    assert bool(torch.isfinite(made).all()) == drops


@TORCH_WARNS
@pytest.mark.parametrize("name", LINEAR)
def test_linear_members_are_seen_by_every_way_of_differentiating(name: str) -> None:
    x = torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.1, 2.0]])

    def loss(v: torch.Tensor) -> torch.Tensor:
        return (MEMBERS[name]()(v) ** 2 * G).sum()

    expected = EXPECTED[name](2 * x * G)
    torch.testing.assert_close(torch.func.grad(loss)(x), expected)
    torch.testing.assert_close(torch.func.jacrev(loss)(x), expected)
    tangent = torch.tensor([[0.2, 0.3, -1.0], [1.0, 0.0, 0.4]])
    torch.testing.assert_close(torch.func.jvp(loss, (x,), (tangent,))[1], (2 * x * G * EXPECTED[name](tangent)).sum())
    leaf = x.clone().requires_grad_()
    torch.compile(loss, backend="aot_eager", fullgraph=True)(leaf).backward() if name != "Stop" else None
    torch.testing.assert_close(leaf.grad if name != "Stop" else 0 * x, expected)

    class Squared(nn.Module):
        def forward(self, v: torch.Tensor) -> torch.Tensor:
            return (member(v) ** 2 * weights).sum() + 0 * v.sum()

    member, weights = MEMBERS[name](), G
    leaf = x.clone().requires_grad_()
    torch.export.export(Squared(), (x,)).module()(leaf).backward()
    torch.testing.assert_close(leaf.grad, expected)
    many = torch.stack([x, 2 * x])
    if name not in ("Centralize",):  # the mask and the direction have one dimension, as each sample has
        per_row = torch.func.vmap(torch.func.grad(lambda v: (MEMBERS[name]()(v) ** 2).sum()))(x)
        torch.testing.assert_close(per_row, EXPECTED[name](2 * x))
    else:
        per = torch.func.vmap(torch.func.grad(loss))(many)
        torch.testing.assert_close(per, torch.stack([EXPECTED[name](2 * v * G) for v in many]))


@TORCH_WARNS
@pytest.mark.parametrize("name", [name for name in MEMBERS if name not in (*LINEAR, "chain")])
def test_non_linear_members_refuse_what_they_cannot_serve(name: str) -> None:
    transform = MEMBERS[name]()
    x = torch.ones(2, 3)
    with pytest.raises(InputError, match=r"torch\.func"):
        torch.func.grad(lambda v: transform(v).sum())(x)
    with pytest.raises(InputError, match=r"torch\.func"):
        torch.func.vmap(lambda v: transform(v).sum())(x)
    with pytest.raises(InputError, match=r"torch\.func"):
        torch.func.jvp(transform, (x,), (x,))
    model = nn.Sequential(nn.Linear(3, 3), transform)
    with pytest.raises(InputError, match="exported or traced"):
        torch.export.export(model, (x,))
    with pytest.raises(InputError, match="exported or traced"):
        torch.jit.trace(model, (x,))
    with pytest.raises(torch._dynamo.exc.Unsupported, match="cannot be part of a compiled graph"):
        torch.compile(model, backend="aot_eager", fullgraph=True)(x)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch's own, where a graph breaks
@pytest.mark.parametrize("name", [name for name in MEMBERS if name not in LINEAR])
def test_non_linear_members_work_where_a_graph_may_break(name: str) -> None:
    torch._dynamo.reset()
    x = torch.ones(2, 3, requires_grad=True)
    compiled = torch.compile(lambda v: MEMBERS[name]()(v * 1.0) * 2, backend="aot_eager")
    compiled(x).backward(G)
    torch.testing.assert_close(x.grad, MEMBERS[name]().gradient(2 * G))


@EVERY
def test_second_derivatives_exist_or_are_refused(name: str) -> None:
    x = torch.ones(2, 3, requires_grad=True)
    made = MEMBERS[name]()(x)
    if not made.requires_grad:
        return
    if name in REMEMBERING:
        with pytest.raises(InputError, match="remembers earlier gradients"):
            torch.autograd.grad((made**2 * G).sum(), x, create_graph=True)
        return
    (first,) = torch.autograd.grad((made**2 * G).sum(), x, create_graph=True)
    weights = torch.arange(6.0).reshape(2, 3)
    (second,) = torch.autograd.grad((weights * first.square()).sum(), x)
    # back through the rule as autograd knows it from its formula, then through 2 x G, then through the tensor once more
    rule = EXPECTED.get(name, lambda grad: grad)
    (through_rule,) = torch.autograd.functional.vjp(rule, 2 * G, 2 * weights * first.detach())[1:]
    again = MEMBERS[name]()
    again.gradient(2 * G)
    torch.testing.assert_close(second, again.gradient(2 * G * through_rule))


@EVERY
def test_it_survives_checkpointing(name: str) -> None:
    from torch.utils.checkpoint import checkpoint

    for reentrant in (True, False):
        x = torch.ones(2, 3, requires_grad=True)
        transform = MEMBERS[name]()
        made = checkpoint(lambda v, t=transform: t(v * 1.0) * 2 + 0 * v, x, use_reentrant=reentrant)
        made.backward(G)
        torch.testing.assert_close(x.grad, MEMBERS[name]().gradient(2 * G))


@pytest.mark.parametrize("name", ["Scale", "Clip by norm", "Noise", "EMA"])
def test_half_precision_of_the_model_leaves_settings_alone(name: str) -> None:
    transform = MEMBERS[name]()
    nn.Sequential(nn.Linear(3, 3), transform).bfloat16()
    assert torch.equal(transform.gradient(G), MEMBERS[name]().gradient(G))
