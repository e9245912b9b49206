"""The pictures of learning: each is drawn whole, and what it shows is so."""

from __future__ import annotations

import functools
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pellucid.core.errors import UsageError
from pellucid.experiments.figures import (
    FIGURES,
    caption,
    curves,
    descent,
    generalisation,
    gradients,
    linear,
    search,
    write_figures,
)
from pellucid.experiments.figures.boundaries import classifiers, features
from pellucid.experiments.figures.paper import Panel, end_names
from pellucid.models import create

DOCS = Path(__file__).resolve().parents[2] / "docs"
AXES = {
    "contour_paths": ["parameter θ₁", "parameter θ₂", "step", "loss (log scale)"],
    "activations": ["input x", "output", "sigmoid", "tanh", "ReLU", "derivative"],
    "templates": ["mean", "template", *"0123456789"],
    "boundaries": ["left-right symmetry", "ink in the middle"],
    "gradient_norms": ["step", "norm of a layer's gradient (log scale)", "layer 1", "layer 20"],
    "cross_entropy": ["predicted probability p of the right class", "loss of one picture"],
    "grid_random": ["the setting that matters", "the setting that hardly matters"],
    "minima_saddle": ["parameter θ₁", "parameter θ₂", "local minimum", "saddle", "minimum"],
    "optimisation_generalisation": ["step", "loss", "training", "validation"],
    "upsampling": ["nearest", "bilinear", "transposed", "sub-pixel"],
}


@pytest.fixture(scope="module", autouse=True)
def trained_once() -> Iterator[None]:
    """Trainings that both a figure and a test read are run once."""
    patch = pytest.MonkeyPatch()
    for module, name in ((gradients, "courses"), (generalisation, "lessons"), (linear, "learned")):
        patch.setattr(module, name, functools.cache(getattr(module, name)))
    yield
    patch.undo()


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_whole_and_names_its_axes(name: str, tmp_path: Path) -> None:
    files = write_figures(tmp_path, [name])
    assert files[0] == tmp_path / f"{name}.svg"
    for path in files:
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        assert set(AXES[name]) <= set(words)
        assert not re.search(r"\bnan\b|\binf\b", path.read_text(encoding="utf-8"))
        assert len(caption(path)) > 60 and path.stat().st_size < 150_000
        width, height = (float(root.attrib[side]) for side in ("width", "height"))
        for element in root.iter("{http://www.w3.org/2000/svg}text"):
            assert (
                0 <= float(element.attrib["x"]) < width and 0 < float(element.attrib["y"]) <= height
            )


def test_the_same_bytes_each_time_and_no_state_is_left(tmp_path: Path) -> None:
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    first = [
        path.read_bytes()
        for path in write_figures(tmp_path / "a", ["boundaries", "grid_random", "contour_paths"])
    ]
    assert torch.equal(torch.random.get_rng_state(), before) and torch.get_num_threads() == threads
    torch.rand(3)
    second = [
        path.read_bytes()
        for path in write_figures(tmp_path / "b", ["boundaries", "grid_random", "contour_paths"])
    ]
    assert first == second
    torch.random.set_rng_state(before)


def test_an_unknown_figure_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="templates"):
        write_figures(tmp_path, ["activations", "template"])
    assert not list(tmp_path.iterdir())


def test_the_docs_show_every_figure() -> None:
    page = "\n".join(each.read_text(encoding="utf-8") for each in sorted(DOCS.glob("*.md")))
    shown = re.findall(r"!\[([^]]+)\]\(figures/([a-z_]+\.svg)\)", page)
    files = {path.name: path for path in (DOCS / "figures").glob("*.svg")}
    assert {file for _, file in shown} == set(files) and {Path(file).stem for file in files} >= set(
        FIGURES
    )
    for words, file in shown:
        assert ElementTree.fromstring(files[file].read_text(encoding="utf-8"))[0].text == words


def gradient(point: np.ndarray) -> np.ndarray:
    return np.array([point[0], 20 * point[1]])


def test_the_paths_are_those_of_the_formulas() -> None:
    """Written out by hand; Nesterov's in the textbook form,
    of which frameworks keep the point ahead, θ + βv."""
    ways = descent.ways()
    plain = heavy = ahead = np.array(descent.START)
    v = w = np.zeros(2)
    for k in range(descent.STEPS + 1):
        np.testing.assert_allclose(ways["gradient descent"][k], plain, atol=1e-9)
        np.testing.assert_allclose(ways["momentum"][k], heavy, atol=1e-9)
        np.testing.assert_allclose(ways["Nesterov"][k], ahead + 0.9 * w, atol=1e-9)
        plain = plain - 0.02 * gradient(plain)
        v = 0.9 * v - 0.02 * gradient(heavy)
        heavy = heavy + v
        w = 0.9 * w - 0.02 * gradient(ahead + 0.9 * w)
        ahead = ahead + w


def test_momentum_overshoots_and_descent_does_not() -> None:
    ways = descent.ways()
    farthest = {name: way[:, 0].max() for name, way in ways.items()}
    assert farthest["gradient descent"] < 0 < farthest["Nesterov"] < farthest["momentum"]
    below = {name: way[:, 1].min() for name, way in ways.items()}
    assert below["momentum"] < below["Nesterov"] < below["gradient descent"]
    end = {name: float(descent.valley(*way[-1])) for name, way in ways.items()}
    assert max(end, key=end.__getitem__) == "gradient descent"
    # Adam's first step has the length of its rate in each parameter, however steep it is there.
    np.testing.assert_allclose(ways["Adam"][1] - ways["Adam"][0], [0.5, -0.5], atol=1e-6)


def test_a_hairs_breadth_decides_at_the_saddle() -> None:
    places = descent.stationary()
    ends = [way[-1] for way in descent.falls().values()]
    np.testing.assert_allclose(
        [end[0] for end in ends], [places["local minimum"], places["minimum"]], atol=0.01
    )
    assert (
        descent.wells(places["minimum"], 0)
        < descent.wells(places["local minimum"], 0)
        < descent.wells(places["saddle"], 0)
    )
    for x in places.values():
        assert (descent.wells(x + 1e-6, 0) - descent.wells(x - 1e-6, 0)) / 2e-6 == pytest.approx(
            0, abs=1e-6
        )
    # A saddle: up along one parameter, down along the other.
    x = places["saddle"]
    assert descent.wells(x + 0.01, 0) < descent.wells(x, 0) < descent.wells(x, 0.01)


@given(st.floats(-6, 6).filter(lambda x: abs(x) > 1e-3))
def test_derivatives_are_those_of_the_functions(x: float) -> None:
    at = np.array([x - 1e-5, x + 1e-5])
    for function, slope, *_ in curves.ACTIVATIONS.values():
        low, high = function(at)
        assert float(slope(np.array([x]))[0]) == pytest.approx((high - low) / 2e-5, abs=1e-6)


@given(st.floats(0.001, 0.999))
def test_losses_are_those_of_torch(p: float) -> None:
    at = np.array([p])
    right = torch.nn.functional.nll_loss(
        torch.tensor([[p, 1 - p]], dtype=torch.float64).log(), torch.tensor([0])
    )
    assert curves.cross_entropy_of(at)[0] == pytest.approx(right.item())
    assert 0 <= curves.focal_of(at)[0] < curves.cross_entropy_of(at)[0]
    assert curves.squared_of(at)[0] <= min(1, curves.cross_entropy_of(at)[0])


def test_a_grid_tries_three_values_and_chance_nine() -> None:
    grid, chance = search.grid_points(), search.random_points()
    assert grid.shape == chance.shape == (9, 2)
    assert len(np.unique(grid[:, 0].round(9))) == 3 and len(np.unique(chance[:, 0])) == 9
    assert search.quality(*chance.T).max() > search.quality(*grid.T).max()
    # What the docs say of chance in general: the upper half of the peak is so wide a share of the
    # setting's range.
    line = np.linspace(0, 1, 100_001)
    share = (search.peak(line) > 0.5).mean()
    assert round(100 * (1 - (1 - share) ** 9)) == 84 and round(100 * (1 - (1 - share) ** 3)) == 45


def test_templates_add_up_to_a_score() -> None:
    means, weights, accuracy = linear.learned()
    assert means.shape == weights.shape == (10, 8, 8) and accuracy > 0.9
    # The mean picture of a digit fits its own template better than the mean of all digits does.
    assert ((weights * (means - means.mean(axis=0))).sum(axis=(1, 2)) > 0).all()
    # A class' weights say the same relative to the others whatever all of them share: the shared
    # part stays 0, where it began.
    np.testing.assert_allclose(weights.sum(axis=0), 0, atol=1e-4)


def test_boundaries() -> None:
    nearest, straight, curved = classifiers()
    assert straight.accuracy < min(nearest.accuracy, curved.accuracy)
    # Differences of the linear one's log-probabilities are linear in the features.
    ends = np.array([[0.3, 0.2], [0.9, 0.7]])
    middle = np.log(straight.scores(ends.mean(axis=0, keepdims=True)))
    both = np.log(straight.scores(ends)).mean(axis=0, keepdims=True)
    np.testing.assert_allclose(np.diff(middle), np.diff(both), atol=1e-4)


def test_features_of_known_pictures() -> None:
    pictures = np.zeros((2, 8, 8))
    pictures[0, :, 3:5] = 1  # an upright bar in the middle
    pictures[1, :, 0] = 1  # one at the left edge
    np.testing.assert_allclose(features(pictures), [[1, 1], [0, 0]])


def test_without_shortcuts_the_first_layer_learns_nothing() -> None:
    sizes = {
        name: sum(p.numel() for p in create(text, 10, 1, (8, 8)).parameters())
        for name, text in gradients.NETWORKS.items()
    }
    assert sizes["plain"] == sizes["residual"]
    found = gradients.courses()
    assert found["plain"].norms.shape == (gradients.STEPS, 20)
    assert (found["plain"].norms[:, 0] < 1e-6 * found["residual"].norms[:, 0]).all()
    assert found["plain"].losses[-10:].mean() > 2.2 and found["residual"].losses[-10:].mean() < 0.3
    # Each sigmoid passes back a quarter at most: layer by layer less, in the plain network.
    assert (np.diff(np.log(found["plain"].norms[0])) > 0).mean() > 0.9


def test_the_lower_training_loss_answers_worse() -> None:
    bare, held = generalisation.lessons().values()
    assert generalisation.labels()[1].mean() == generalisation.WRONG
    assert bare.training[-1] < 0.02 < held.training[-1]
    assert bare.validation[-1] > held.validation[-1] and bare.accuracy < held.accuracy
    assert bare.validation.min() < 0.8 * bare.validation[-1]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=6))
def test_names_at_the_ends_keep_apart(values: list[float]) -> None:
    panel = Panel(0, 0, 100, 100, (0, 1), (0, 10))
    places = sorted(
        float(y)
        for y in re.findall(
            r' y="([-\d.]+)"', "".join(end_names(panel, [(v, "name", "a") for v in values]))
        )
    )
    assert len(places) == len(values) and (np.diff(places) >= 14.8).all()
