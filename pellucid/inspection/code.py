"""A network of the user's own: the function that returns it,
found by `module:function` or `file.py:function`."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ..anatomy import blank
from ..core.errors import ModelError, UsageError, did_you_mean


def is_code(name: str) -> bool:
    """`package.module:function` or `folder/file.py:function`; "1D:C16 …" is a notation."""
    return re.fullmatch(r"(.+\.py|[A-Za-z_][\w.]*):[A-Za-z_]\w*", name) is not None


def function(name: str) -> Callable[[], nn.Module]:
    """What builds the network, called without arguments. Imports, and so runs, the user's code.

    Raises UsageError for a file, module or function that is not there, ModelError for code that
    fails or returns something else.
    """
    place, _, wanted = name.rpartition(":")
    module = _imported(place)
    found = getattr(module, wanted, None)
    if not callable(found):
        known = [
            key
            for key, value in vars(module).items()
            if callable(value) and not key.startswith("_")
        ]
        raise UsageError(
            f'{place}: there is no function "{wanted}" in it; {did_you_mean(wanted, known)}'
        )

    def make() -> nn.Module:
        network: Any = _run(name, found)
        if not isinstance(network, nn.Module):
            raise ModelError(
                f"{name}: returned {type(network).__name__} and not an nn.Module; "
                "return the network itself"
            )
        if isinstance(network, torch.jit.ScriptModule):
            raise ModelError(
                f"{name}: returned compiled TorchScript, whose layers cannot be followed; return "
                "the module it was made from"
            )
        if any(is_lazy(parameter) for parameter in [*network.parameters(), *network.buffers()]):
            raise ModelError(
                f"{name}: has lazy layers without sizes; "
                "pass a picture through the network before you return it"
            )
        return network

    return make


def built(name: str, make: Callable[[], nn.Module]) -> nn.Module:
    """Without memory where the code allows it."""
    try:
        with blank():
            return make()
    except ModelError:
        # Some code needs real numbers while it builds; what is wrong with it otherwise shows now.
        return make()


def _imported(place: str) -> ModuleType:
    if not place.endswith(".py"):
        return _beside(Path.cwd(), place, lambda: importlib.import_module(place))
    path = Path(place)
    if not path.is_file():
        raise UsageError(
            f"{place}: there is no such file; write FILE.py:FUNCTION or MODULE:FUNCTION"
        )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{place}: cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # its dataclasses and pickles look themselves up here
    loader = spec.loader
    _beside(path.resolve().parent, place, lambda: loader.exec_module(module))
    return module


def _beside(folder: Path, place: str, load: Callable[[], Any]) -> Any:
    """Loads it with its neighbours within reach."""
    sys.path.insert(0, str(folder))
    try:
        return _run(place, load)
    finally:
        sys.path.remove(str(folder))


def _run(name: str, code: Callable[[], Any]) -> Any:
    try:
        return code()
    except ModuleNotFoundError as error:
        missing = UsageError(
            f"{name}: there is no module {error.name} here; give a FILE.py:FUNCTION, "
            "or run where it can be imported"
        )
        raise missing from error
    except SystemExit as error:
        raise ModelError(
            f"{name}: ended the program (sys.exit); return a network instead"
        ) from error
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        reason = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"{name}: {type(error).__name__}: {reason} ({last.filename}, line {last.lineno})"
        ) from error
