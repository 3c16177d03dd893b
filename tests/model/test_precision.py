import numpy as np
import pytest
import torch
from torch.nn import functional

from periogt_ray.model.precision import Precision, arithmetic, split, split_linear


def to_tf32(matrix: torch.Tensor) -> torch.Tensor:
    """What a card reads of a float32 number: 10 bits of mantissa, the rest cut off."""
    return (matrix.view(torch.int32) & -0x2000).view(torch.float32)


@pytest.fixture
def operands() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(300, 512, generator=generator) * torch.logspace(-6, 6, 512)
    weight = torch.randn(64, 512, generator=generator) / torch.logspace(-6, 6, 512)
    return rows, weight, torch.randn(64, generator=generator)


def test_the_parts_are_tf32_and_add_up(operands: tuple[torch.Tensor, ...]) -> None:
    for matrix in operands:
        high, low = split(matrix)
        assert torch.equal(high, to_tf32(high))
        assert torch.equal(high + low, matrix)
        assert bool((low.abs() <= 2.0**-11 * matrix.abs()).all()), "rounded to nearest"


def test_a_split_product_is_as_exact_as_float32(
    operands: tuple[torch.Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the cutting that a card does to what it reads, which a product of plain TF32 shows."""
    rows, weight, bias = operands
    exact = functional.linear(*(matrix.double() for matrix in operands))
    size = exact.abs().max()
    plain = functional.linear(rows, weight, bias)
    tf32 = functional.linear(to_tf32(rows), to_tf32(weight), bias)
    linear = functional.linear
    monkeypatch.setattr(functional, "linear", lambda left, right, offset: linear(to_tf32(left), to_tf32(right), offset))
    found = split_linear(rows, weight, bias)
    assert float((tf32 - exact).abs().max() / size) > 1e-4
    assert float((found - exact).abs().max() / size) < 1e-6
    assert float((plain - exact).abs().max() / size) < 1e-6


@pytest.mark.parametrize("precision", Precision)
def test_a_cpu_computes_in_float32_always(operands: tuple[torch.Tensor, ...], precision: Precision) -> None:
    expected = functional.linear(*operands)
    with arithmetic(precision, torch.device("cpu")):
        np.testing.assert_array_equal(functional.linear(*operands), expected)
