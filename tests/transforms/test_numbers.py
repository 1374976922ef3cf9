"""Numbers of every type and size: half precision, huge and tiny, zero, complex."""

import pytest
import torch
import torch._dynamo
from torch import nn

import gradtape as gt


def test_clip_of_half_precision_does_not_overflow() -> None:
    grad = torch.full((40_000,), 400.0, dtype=torch.float16)  # the norm, 80,000, is beyond half precision
    expected = torch.full((40_000,), 100 / 200, dtype=torch.float16)
    torch.testing.assert_close(gt.Clip(100.0).gradient(grad), expected)


def test_large_finite_gradients_are_no_reason_to_skip() -> None:
    grad = torch.full((1000,), 6e4, dtype=torch.float16)
    assert torch.equal(gt.SkipNonfinite().gradient(grad), grad)


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
