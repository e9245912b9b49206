"""Records come back as they were, whatever their shapes; a damaged file is refused in one line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pellucid.core.errors import ModelError
from pellucid.engine.inference import records

DTYPES = st.sampled_from(
    (
        *(np.bool_, np.uint8, np.int8, np.int16, np.int32, np.int64, np.uint16, np.uint64),
        *(np.float16, np.float32, np.float64),
    )
)
SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
RECORD = st.dictionaries(
    st.sampled_from(["probabilities", "target", "boxes", "others/Müller", "0.values", ""]),
    DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, SHAPES)),
    max_size=4,
)
# A file name that is not UTF-8 is held with surrogates.
RECORDS = st.dictionaries(st.text(max_size=6) | st.just("caf\udce9.png"), RECORD, max_size=6)


def stored(path: Path, found: records.Records) -> records.Records:
    records.save(path, SimpleNamespace(records=found))
    metric = SimpleNamespace(records=None)
    records.load(path, metric)
    return metric.records


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(found=RECORDS)
def test_records_survive_a_round_trip(
    found: records.Records, tmp_path_factory: pytest.TempPathFactory
) -> None:
    again = stored(tmp_path_factory.mktemp("records") / "evidence.safetensors", found)
    assert list(again) == list(found)
    for source, record in found.items():
        assert again[source].keys() == record.keys()
        for name, array in record.items():
            other = again[source][name]
            assert other.dtype == array.dtype and other.shape == array.shape
            assert other.tobytes() == np.ascontiguousarray(array).tobytes()


def test_one_tensor_a_name_and_no_pickle(tmp_path: Path) -> None:
    found = {
        f"{i}.png": {"target": np.array(i), "boxes": np.zeros((i, 4), np.float32)}
        for i in range(500)
    }
    path = tmp_path / "evidence.safetensors"
    assert len(stored(path, found)) == 500
    assert path.stat().st_size < 4 * 4 * 500 * 499 // 2 + 500 * 80
    assert b"pickle" not in path.read_bytes()


def test_what_is_not_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match='"name" holds <U3'):
        stored(tmp_path / "e", {"a": {"name": np.array("abc")}})
    assert not (tmp_path / "e").exists()


def test_a_missing_or_damaged_file_is_one_line(tmp_path: Path) -> None:
    path, metric = tmp_path / records.NAME, SimpleNamespace(records={})
    with pytest.raises(ModelError, match="missing, as in runs of earlier versions; train"):
        records.load(path, metric)
    records.save(path, SimpleNamespace(records={"a": {"x": np.arange(5)}}))
    whole = path.read_bytes()
    for spoilt in (b"", whole[:-3], whole[:40], whole.replace(b"sources", b"sauces!")):
        path.write_bytes(spoilt)
        with pytest.raises(ModelError, match="damaged") as refused:
            records.load(path, metric)
        assert "\n" not in str(refused.value)
