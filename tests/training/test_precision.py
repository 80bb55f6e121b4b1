import pytest
import torch

from ulmfit_ray.training.precision import autocast, resolve_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_a_precision_that_was_asked_for_is_taken_whatever_the_machine(wanted: str, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert resolve_precision(wanted, CPU) == wanted


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({}, "float32"),
        ({"avx512_f": True, "avx512_bf16": False}, "float32"),
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
    ],
)
def test_auto_is_bfloat16_where_the_processor_has_it(features: dict[str, bool], expected: str, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert resolve_precision("auto", CPU) == expected


def test_auto_is_float32_where_torch_cannot_tell(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert resolve_precision("auto", CPU) == "float32"


@pytest.mark.parametrize(("has_it", "expected"), [(True, "bfloat16"), (False, "float16")])
def test_auto_on_a_gpu_asks_for_bfloat16_in_hardware(has_it: bool, expected: str, monkeypatch):
    asked = {}

    def supports(**options: bool) -> bool:
        asked.update(options)
        return has_it

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supports)
    assert resolve_precision("auto", torch.device("cuda")) == expected
    assert asked == {"including_emulation": False}


def test_float16_is_refused_on_a_processor():
    with pytest.raises(ValueError, match="float16 is for GPUs"):
        resolve_precision("float16", CPU)


def test_autocast_computes_in_the_precision_it_is_told():
    matrix = torch.randn(3, 3)
    with autocast("bfloat16", CPU):
        assert (matrix @ matrix).dtype == torch.bfloat16
    with autocast("float32", CPU):
        assert (matrix @ matrix).dtype == torch.float32
