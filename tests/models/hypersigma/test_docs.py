"""The example of the documentation runs as it stands."""

import re
from pathlib import Path

import torch

DOCS = Path(__file__).parents[3] / "docs" / "hypersigma.md"


def test_multispectral_change_is_trained_through_python(capsys) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    torch.manual_seed(0)
    labels = torch.zeros(3, 64, 64, dtype=torch.long)
    labels[:, 16:40, 8:40], labels[:, :4] = 1, -1
    before = torch.rand(3, 13, 64, 64)
    after = torch.where((labels == 1)[:, None], before.flip(1), before)
    names = {"before": before, "after": after, "labels": labels}
    exec(example.replace("epochs=40", "epochs=1").replace("weights=None", "device='cpu'"), names)
    assert names["changed"].shape == labels.shape
    assert ((names["changed"] >= 0) & (names["changed"] <= 1)).all()
    assert "1 epochs" in capsys.readouterr().out
