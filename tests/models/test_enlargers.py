"""What every network that enlarges keeps to, over all of ENLARGERS,
and what the papers say of each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pellucid.anatomy import blank, describe
from pellucid.anatomy.receptive import receptive_fields
from pellucid.core.errors import UsageError
from pellucid.inspection.network import inspect
from pellucid.models import ENLARGERS, create, enlarger
from pellucid.models.srcnn import SRCNN
from pellucid.transforms.resize import bicubic

NAMES = sorted(ENLARGERS)
FACTORS = (2, 3, 4)


def drawn(name: str, factor: int, channels: int = 1) -> Any:
    """With weights that are nowhere zero, in double precision."""
    torch.manual_seed(0)
    network = enlarger(name, factor, channels, width=4).double().eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5)
    return network


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("factor", FACTORS)
def test_a_fresh_one_is_bicubic_at_any_size(name: str, factor: int) -> None:
    network = enlarger(name, factor, 3)
    assert network.factor == factor
    for height, width in ((1, 1), (5, 8)):
        x = torch.rand(2, 3, height, width)
        assert torch.equal(network(x), bicubic(x, float(factor)))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(network(x), bicubic(x, float(factor)))


@pytest.mark.parametrize("name", NAMES)
def test_features_and_head_give_what_is_added(name: str) -> None:
    network, x = drawn(name, 2, 3), torch.rand(1, 3, 6, 7, dtype=torch.float64)
    maps = network.features(x)
    assert len(maps) == 1
    assert torch.allclose(network(x), bicubic(x, 2.0) + network.head(maps))
    assert torch.allclose(network(x.to(memory_format=torch.channels_last)), network(x))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("factor", FACTORS)
def test_margin_is_how_far_an_answer_reaches(name: str, factor: int) -> None:
    network = drawn(name, factor)
    side = 2 * network.margin + 5
    middle = side // 2
    x = torch.rand(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    own = slice(middle * factor, (middle + 1) * factor)
    (gradient,) = torch.autograd.grad(network(x)[0, 0, own].sum(), x)
    rows = gradient[0, 0].abs().sum(1).nonzero().flatten()
    assert max(middle - int(rows.min()), int(rows.max()) - middle) == network.margin


@pytest.mark.parametrize("name", NAMES)
def test_the_account_agrees_with_the_gradient(name: str) -> None:
    network = drawn(name, 3)
    account = describe(network, (1, 33, 30))
    last = account.graph.outputs[0]
    assert account.graph.nodes[last].output == (1, 1, 99, 90)
    reach = receptive_fields(account.graph)[last]
    assert reach is not None
    x = torch.rand(1, 1, 33, 30, dtype=torch.float64, requires_grad=True)
    for row in (0, 1, 40, 98):
        (gradient,) = torch.autograd.grad(network(x)[0, 0, row].sum(), x)
        seen = gradient[0, 0].abs().sum(1).nonzero().flatten()
        assert (int(seen.min()), int(seen.max())) == (reach[0].low[row], reach[0].high[row])
    assert not account.uncounted
    assert account.unused == 0


def test_bicubic_upscaling_has_no_weights() -> None:
    with blank():
        network = enlarger("srcnn", 3, 1)
    account = describe(network, (1, 20, 10))
    (row,) = [row for row in account.rows if row.name == "bicubic"]
    assert row.macs == 60 * 20 * 10 + 60 * 10 * 30
    assert account.depth == 3


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(name: str) -> None:
    torch.manual_seed(1)
    network = enlarger(name, 2, 1, width=8)
    sharp = (torch.arange(24) // 3 % 2).float().expand(1, 1, 24, 24)
    small = bicubic(sharp, 0.5)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        loss = (network(small) - sharp).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters() if p.ndim > 1
    )


def weights(name: str, factor: int = 3) -> int:
    return sum(p.numel() for p in enlarger(name, factor, 1).parameters() if p.ndim == 4)


def test_weights_of_the_papers() -> None:
    assert weights("srcnn") == 8_032
    assert weights("srcnn_955") == 57_184
    assert weights("fsrcnn") == 12_464
    assert weights("espcn") == 25 * 64 + 9 * 64 * 32 + 9 * 32 * 9


def test_srcnn_of_the_paper() -> None:
    torch.manual_seed(0)
    network, x = SRCNN(residual=False), torch.rand(1, 1, 9, 9)
    assert torch.equal(network(x), network.head(network.features(x)))
    assert not torch.allclose(network(x), x)


def test_srcnn_sees_thirteen_pixels() -> None:
    account = inspect("srcnn", input="1x33x33", quiet=True)
    reach = account.rows[-1].reach
    assert account.rows[-1].output == (1, 33, 33)
    assert reach is not None
    assert [side.size for side in reach] == [(13, 13), (13, 13)]
    assert account.parameters == 8_032 + 64 + 32 + 1


PAGE = Path(__file__).resolve().parents[2] / "docs" / "superresolution_networks.md"
TABLE = re.findall(
    r"^\| `(\w+)` \| .*? \| ([\d,]+) \| ([\d,]+) \| (\d+) \|$",
    PAGE.read_text(encoding="utf-8"),
    re.MULTILINE,
)


def test_the_table_of_the_guide_is_true() -> None:
    assert [row[0] for row in TABLE] == list(ENLARGERS)
    for name, parameters, macs, margin in TABLE:
        with blank():
            network = enlarger(name, 3, 1)
        account = describe(network, (1, 100, 100))
        assert (f"{account.parameters:,}", f"{account.macs:,}", str(network.margin)) == (
            parameters,
            macs,
            margin,
        )


def test_refusals() -> None:
    with pytest.raises(UsageError, match='did you mean "espcn"'):
        enlarger("espnc", 2, 1)
    with pytest.raises(UsageError, match="at least 2"):
        enlarger("espcn", 2, 1, width=1)
    with pytest.raises(UsageError, match="super-resolution"):
        create("espcn", 10, 3, (32, 32))
    with pytest.raises(UsageError, match="no classes"):
        inspect("espcn", classes=3, quiet=True)
