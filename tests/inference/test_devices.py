"""Devices are chosen, or refused with a sentence that helps."""

import pytest
import torch

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.inference import devices


def test_auto_is_the_processor_where_there_is_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.choose_device("auto") == torch.device("cpu")
    assert devices.choose_device("cpu") == torch.device("cpu")


def test_auto_is_cuda_where_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.choose_device("auto") == torch.device("cuda")


def test_cuda_that_is_missing_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParameterError, match=r"no CUDA device.*(Install|Check)"):
        devices.choose_device("cuda")


def test_a_card_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.choose_device("cuda:1").index == 1
    with pytest.raises(ParameterError, match="only 2"):
        devices.choose_device("cuda:2")


@pytest.mark.parametrize(("capability", "dtype"), [((9, 0), torch.bfloat16), ((7, 5), torch.float16)])
def test_cuda_devices_get_the_sixteen_bits_they_multiply(monkeypatch, capability, dtype) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert devices.fast_dtype(torch.device("cuda")) == dtype


@pytest.mark.parametrize("name", ["tpu3000", "meta", ""])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(ParameterError, match="device"):
        devices.choose_device(name)


def test_a_limit_goes_before_what_is_free() -> None:
    cpu = torch.device("cpu")
    assert devices.memory_budget(cpu, 123) == 123
    assert 0 < devices.memory_budget(cpu) <= devices.BLOCK_MEMORY


def test_the_fast_type_of_a_processor_without_sixteen_bits_is_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert devices.fast_dtype(torch.device("cpu")) == torch.float32
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert devices.fast_dtype(torch.device("cpu")) == torch.bfloat16
