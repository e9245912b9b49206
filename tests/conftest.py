from __future__ import annotations

import os
from pathlib import Path

import pytest

# Tests run side by side, each on one thread; set before torch is imported, and inherited by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data sets that some tests read."""
    root = Path(os.environ.get("PELLUCID_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no real data at {root}; set PELLUCID_TEST_DATA")
    return root
