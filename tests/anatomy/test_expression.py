from __future__ import annotations

import json
import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.anatomy.expression import Differentiated, differentiate, parse, values_of
from pellucid.core.errors import UsageError


def derived(text: str, **values: float) -> Differentiated:
    return differentiate(parse(text), values)


def partials(result: Differentiated) -> dict[str, float]:
    return result.to_json()["partials"]


def test_the_worked_example() -> None:
    result = derived("(a+b)*(b+1)", a=2, b=1)
    assert result.values[-1] == 6
    assert partials(result) == {"a": 2, "b": 5}
    by_name = dict(
        zip([node.name for node in result.expression.nodes], result.partials, strict=True)
    )
    assert (by_name["c"], by_name["d"], by_name["e"]) == (2, 3, 1)
    assert (result.all_paths, result.reverse) == (6, 5)
    assert result.check.agrees and result.check.worst is not None


@pytest.mark.parametrize(
    ("at", "value", "gradient"),
    [
        ({"a": 8, "b": 0, "c": 1, "d": 5}, 5, {"a": 0, "b": 13, "c": 5, "d": 1}),
        ({"a": 1, "b": 3, "c": 6, "d": 5}, 72, {"a": 27, "b": 17, "c": 8, "d": 9}),
    ],
)
def test_the_second_worked_example(
    at: dict[str, float], value: float, gradient: dict[str, float]
) -> None:
    result = derived("(a*b + d) * (b + c)", **at)
    assert result.values[-1] == value
    assert partials(result) == gradient


def test_names_are_shared_and_expressions_are_not() -> None:
    nodes = parse("(a+b)*(a+b)").nodes
    assert [node.op for node in nodes] == ["name", "name", "+", "+", "*"]
    assert partials(derived("x*x*x", x=2)) == {"x": 12}


leaves = st.sampled_from(["x", "y", "z", "2", "0.5"])
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(st.sampled_from(["sin", "cos", "tanh", "sigmoid", "relu"]), inner).map(
            lambda t: f"{t[0]}({t[1]})"
        ),
        st.tuples(inner, inner).map(lambda t: f"max({t[0]}, {t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"{t[0]} / (3 + tanh({t[1]}))"),
        inner.map(lambda t: f"sqrt(2 + cos({t})) ** 1.5 - log(exp(sigmoid({t})))"),
        inner.map(lambda t: f"(-{t})"),
    ),
    max_leaves=12,
)
numbers = st.floats(-1.5, 1.5).filter(lambda v: abs(v) > 0.01)


@settings(max_examples=120, deadline=None)
@given(trees, numbers, numbers, numbers)
def test_derivatives_are_those_of_autograd(text: str, x: float, y: float, z: float) -> None:
    names = {
        k: v for k, v in {"x": x, "y": y, "z": z}.items() if k in re.findall(r"\b[xyz]\b", text)
    }
    result = derived(text, **names)
    leaves = {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in names.items()}
    tools = {
        name: getattr(torch, name)
        for name in ("sin", "cos", "tanh", "sigmoid", "relu", "sqrt", "exp", "log")
    }
    number = re.sub(r"(?<![\w.])(\d+(?:\.\d+)?)", r"torch.tensor(\1, dtype=torch.float64)", text)
    value = eval(number, {"torch": torch, "max": torch.maximum, **tools, **leaves})
    assert result.values[-1] == pytest.approx(value.item(), rel=1e-12, abs=1e-12)
    if names:
        value.backward()
    for name, leaf in leaves.items():
        assert partials(result)[name] == pytest.approx(leaf.grad.item(), rel=1e-9, abs=1e-9)
    assert result.check.agrees


@pytest.mark.parametrize(
    ("text", "values", "words"),
    [
        ("a^b", [], ("column 2", '"^"', "**")),
        ("a + $", [], ("column 5", "$")),
        ("2a", [], ("column 1",)),
        ("a+", [], ("column 3", "the end")),
        ("", [], ("empty",)),
        ("a # b", [], ("column 3", "#")),
        ("sim(a)", [], ("column 1", 'did you mean "sin"')),
        ("b + exp(a, b)", [], ("column 5", "exp takes one argument")),
        ("max(a)", [], ("column 1", "two or more")),
        ("max(*a)", [], ("max takes",)),
        ("exp(x=1)", [], ("column 1",)),
        ("+a", [], ("column 1",)),
        ("a if b else c", [], ("column 1",)),
        ("a.real", [], ("column 1",)),
        ("True", [], ("column 1",)),
        ("1j", [], ("column 1",)),
        ("a + 1e999", [], ("column 5", "too large")),
        ("__import__('os')", [], ("column 1", "__import__")),
        ("é * σ ^ 2", [], ("column 7", '"^"')),
        ("(" * 300 + "a" + ")" * 300, [], ("nested",)),
        ("+".join("a" * 200_000), [], ("too many",)),
        ("a+b", ["a=1"], ("no value for b",)),
        ("a+b", ["a=1", "b=2", "c=3"], ('"c"', "does not occur")),
        ("a", ["a=1", "a=1"], ("a has a value already",)),
        ("a", ["a"], ("name=number",)),
        ("a", ["a=two"], ('"two"',)),
        ("a", ["a=nan"], ("finite",)),
        ("a", ["a=inf"], ("finite",)),
        ("b + a/(b-1)", ["a=1", "b=1"], ("column 5", "a/(b-1)", "divides by zero")),
        ("sqrt(x)", ["x=0"], ("derivative of sqrt(x)",)),
        ("log(x)", ["x=-1"], ("log(x)", "not a real number")),
        ("x ** 0.5", ["x=-1"], ("not a real number",)),
        ("x ** y", ["x=-2", "y=2"], ("derivative",)),
        ("exp(x)", ["x=1e4"], ("too large",)),
        ("x * x", ["x=1e200"], ("too large",)),
    ],
)
def test_bad_input_is_one_line_that_says_where(
    text: str, values: list[str], words: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError) as error:
        differentiate(parse(text), values_of(values))
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_powers_at_their_edges() -> None:
    assert partials(derived("x ** 2", x=-3)) == {"x": -6}
    assert partials(derived("x ** 0", x=0)) == {"x": 0}
    assert partials(derived("2 ** x", x=3))["x"] == pytest.approx(8 * math.log(2))


@pytest.mark.parametrize(
    ("text", "at", "slope"),
    [
        ("relu(x)", {"x": 0}, 0),
        ("max(x, y)", {"x": 2, "y": 2}, 0.5),
        ("min(x*1, 3)", {"x": 3}, 0.5),
    ],
)
def test_a_kink_is_said_and_not_checked(text: str, at: dict[str, float], slope: float) -> None:
    result = derived(text, **at)
    assert len(result.kinks) == 1 and "column 1" in result.kinks[0]
    assert partials(result)["x"] == slope
    assert result.check.worst is None and "kink" in result.check.reason


def test_a_kink_nearby_is_stepped_short_of() -> None:
    result = derived("relu(x) + max(x, y)", x=1e-6, y=0)
    assert not result.kinks and result.check.agrees
    assert set(result.check.quotients) == {"x", "y"}
    assert derived("max(x, x)", x=1).kinks == ()


@pytest.mark.parametrize(
    ("text", "x"),
    [
        ("log(x)", 1e-8),
        ("1e6 + x", 2.0),
        ("sin(x)", math.pi / 2),
        ("exp(x)", 700.0),
        ("1e15*x*x", 1e-9),
    ],
)
def test_the_step_suits_the_function(text: str, x: float) -> None:
    check = derived(text, x=x).check
    assert check.agrees and check.worst is not None


def test_two_thousand_terms() -> None:
    count = 2000
    chain = derived("*".join(["x"] * count), x=1.001)
    assert partials(chain)["x"] == pytest.approx(count * 1.001 ** (count - 1), rel=1e-9)
    # The first factor is `count` − 1 products deep, the second too, each later one a product less.
    assert chain.all_paths == (count - 1) + sum(range(1, count))
    assert chain.reverse == 2 * (count - 1)
    many = derived(
        "+".join(f"x{i}*y" for i in range(count)), y=2.0, **{f"x{i}": 1.0 for i in range(count)}
    )
    assert partials(many)["y"] == count and many.check.agrees
    assert len(many.check.quotients) < many.check.names == count + 1


def test_json_is_strict() -> None:
    for text, at in (("(a+b)*(b+1)", {"a": 2, "b": 1}), ("3*2", {}), ("relu(x)", {"x": 0})):
        json.dumps(derived(text, **at).to_json(), allow_nan=False)
