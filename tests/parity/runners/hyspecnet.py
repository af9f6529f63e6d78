"""Runs the golden cases of HySpecNet-11k: codecs at all rates, and the benchmark's metrics."""

import torch

from hsi_toolkit.models.codecs import CAE1D, CAE3D, RATES, Codec, SSCNet, codec_from_state

from .. import procedural
from ..discovery import Case, Runner

_CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def choose_runner(case: Case) -> Runner | None:
    """The runner of a case, by the architecture its configuration names."""
    if case.name == "metrics":
        return run_metrics
    known = {"cae1d": run_codec, "cae1d_original": run_spectra, "sscnet": run_codec, "cae3d": run_codec}
    return known.get(case.config.get("arch", ""))


def run_codec(case: Case) -> None:
    """Latent, reconstruction, rate, metrics and gradients."""
    codec, x = _prepared(case)
    latent = codec.compress(x)
    recon = codec.decompress(latent)
    _same(case, "output.latent", latent)
    _same(case, "output.recon", recon)
    assert list(latent.shape[1:]) == list(codec.latent_shape(*x.shape[2:]))
    if "bpppc" in case.spec:
        assert abs(codec.bpppc - case.spec["bpppc"]) < 1e-9
        assert abs(codec.compression_ratio - case.spec["compression_ratio"]) < 1e-9
        assert sum(each.numel() for each in codec.parameters()) == case.spec["params"]
    gradients = case.group("grad")
    if gradients:
        torch.nn.functional.mse_loss(recon, x).backward()
        own = dict(codec.named_parameters())
        for name, wanted in gradients.items():
            torch.testing.assert_close(own[name].grad, wanted, rtol=1e-3, atol=1e-6)
    _figures(case, recon.detach(), x)


def run_spectra(case: Case) -> None:
    """The first release, which takes spectra."""
    codec, x = _prepared(case)
    assert isinstance(codec, CAE1D)
    latent = codec.compress_spectra(x)
    _same(case, "output.latent", latent)
    _same(case, "output.recon", codec.decompress_spectra(latent))


def run_metrics(case: Case) -> None:
    """Mean squared error, PSNR and spectral angle."""
    _figures(case, case.tensors["input.a"], case.tensors["input.b"])


def _prepared(case: Case) -> tuple[Codec, torch.Tensor]:
    bands = case.config["src_channels"]
    state = case.group("state_dict")
    if state:
        codec = codec_from_state(state, bands)
        return codec, case.tensors["input.x"]
    codec = _released(case, bands).eval()
    procedural.fill(codec)
    shape = tuple(case.tensors["output.recon"].shape)
    return codec, procedural.inputs(f'proc_input("x",{shape},0,1)')["x"]


def _released(case: Case, bands: int) -> Codec:
    config = case.config
    if config["arch"] == "cae1d":
        return CAE1D(bands, RATES["cae1d"][str(config["target_bpppc"])])
    if config["arch"] == "sscnet":
        return SSCNet(bands, case.spec["latent_channels"])
    return CAE3D(bands, config.get("latent_channels") or case.spec["latent_channels"])


def _figures(case: Case, recon: torch.Tensor, x: torch.Tensor) -> None:
    """The benchmark's metrics of a batch: one number over the whole tensor."""
    mse = torch.mean((recon - x) ** 2)
    _same(case, "output.mse", mse)
    _same(case, "output.psnr", -10 * torch.log10(mse))
    cosine = (recon * x).sum(1) / torch.sqrt((recon**2).sum(1) * (x**2).sum(1))
    _same(case, "output.sa_deg", torch.rad2deg(torch.acos(cosine)).mean())


def _same(case: Case, name: str, value: torch.Tensor) -> None:
    if name in case.tensors:
        torch.testing.assert_close(value.detach(), case.tensors[name], **_CLOSE)
