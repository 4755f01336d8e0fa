import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowres.artifacts import Node, Stage
from lowres.fingerprint import Spec, added_later, canonical_json, fingerprint


class Inner(Spec):
    depth: int = 1


class Example(Spec):
    name: str
    rate: float = 0.1
    sizes: tuple[int, ...] = (1, 2)
    inner: Inner = Inner()
    later: str = added_later("new", neutral="old")


STAGE = Stage("make_example", 1, "data", "nowhere:nothing", Example)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values))
def test_order_of_keys_does_not_count(value):
    assert fingerprint(value) == fingerprint(dict(reversed(list(value.items()))))


def test_not_a_number_is_refused():
    with pytest.raises(ValueError):
        canonical_json(float("nan"))


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "b"},
        {"rate": 0.2},
        {"sizes": (1, 3)},
        {"inner": Inner(depth=2)},
        {"later": "other"},
    ],
)
def test_an_id_moves_with_every_field(changed):
    before = Example(name="a")
    assert Node(STAGE, before).id != Node(STAGE, before.model_copy(update=changed)).id


def test_an_id_moves_with_stage_version_and_inputs():
    spec = Example(name="a")
    child = Node(STAGE, spec)
    other = Stage("make_example", 2, "data", "nowhere:nothing", Example)
    ids = {child.id, Node(other, spec).id, Node(STAGE, spec, {"x": child}).id, Node(STAGE, spec, {"y": child}).id}
    assert len(ids) == 4


def test_a_neutral_field_is_not_hashed():
    assert "later" not in Example(name="a", later="old").hashed()
    assert Example(name="a").hashed()["later"] == "new"


def test_a_fingerprint_is_stable_across_processes():
    code = "from lowres.fingerprint import fingerprint; print(fingerprint({'á': [1, 2.5, None], 'b': {'c': 'đ'}}))"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert there == fingerprint({"b": {"c": "đ"}, "á": [1, 2.5, None]})
