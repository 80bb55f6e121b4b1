"""Matrix products by oneDNN, beside torch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from ulmfit_ray.model.products import product, product_with

TYPES = [torch.float32, torch.float64, torch.bfloat16]


def tolerance(dtype: torch.dtype) -> dict[str, float]:
    return {"rtol": 1e-2, "atol": 1e-2} if dtype is torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}


@pytest.mark.parametrize("dtype", TYPES)
def test_a_product_is_x_times_the_transposed_weight(dtype: torch.dtype):
    torch.manual_seed(0)
    x, weight = torch.randn(37, 20).to(dtype), torch.randn(51, 20).to(dtype)
    assert_close(product(x, weight), x @ weight.t(), **tolerance(dtype))
    turned_x, turned_weight = x.t().contiguous().t(), weight.t().contiguous().t()
    assert_close(product(turned_x, turned_weight), x @ weight.t(), **tolerance(dtype))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows", [37, 64])
def test_a_weight_that_is_kept_gives_the_same_for_any_number_of_rows(dtype: torch.dtype, rows: int):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(37, 20).to(dtype), torch.randn(51, 20).to(dtype), torch.randn(51).to(dtype)
    assert_close(product_with(weight, rows, bias)(x), F.linear(x, weight, bias), **tolerance(dtype))
    turned = weight.t().contiguous().t()
    assert_close(product_with(turned, rows)(x), F.linear(x, weight), **tolerance(dtype))
