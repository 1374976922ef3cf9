import dataclasses
import hashlib
import json

import numpy as np
import pytest

from gradtape.errors import DataError, InputError
from gradtape.evidence import Lineage, hash_arrays, lineage_text, read_lineage, write_lineage

HASH = "ab" * 32
ROWS = [
    Lineage("b/1.png", "steer", ("train/7.png",), "features.3", "ascend", 5, HASH, {"steps": 30, "lr": 0.1, "ü": None}),
    Lineage("a/0.png", "mixup", ("train/2.png", "train/1.png"), seed=-1),
    Lineage("row 3", "gan", (), model=HASH, settings={"ema": True, "text": 'a"\n,b'}),
]


def test_round_trip(tmp_path):
    path = tmp_path / "lineage.jsonl"
    write_lineage(path, ROWS)
    found = read_lineage(path)
    assert found == sorted(ROWS, key=lambda row: row.sample)
    assert found[0].parents == ("train/2.png", "train/1.png")  # the order of parents is kept
    assert path.read_bytes() == lineage_text(ROWS).encode()


def test_bytes_do_not_depend_on_any_order(tmp_path):
    turned = dataclasses.replace(ROWS[0], settings=dict(reversed(list(ROWS[0].settings.items()))))
    assert lineage_text([ROWS[2], turned, ROWS[1]]) == lineage_text(ROWS)
    text = lineage_text(ROWS)
    assert text.count("\n") == 3
    assert text.splitlines()[1] == (
        f'{{"maker":"steer","model":"{HASH}","node":"features.3","objective":"ascend","parents":["train/7.png"],'
        '"sample":"b/1.png","seed":5,"settings":{"lr":0.1,"steps":30,"ü":null}}'
    )
    assert lineage_text([]) == ""


def test_rows_are_values():
    settings = {"steps": 1}
    row = Lineage("s", "m", ["p"], settings=settings)
    settings["steps"] = 2
    assert row.settings == {"steps": 1}
    assert row.parents == ("p",)
    assert len({row, Lineage("s", "m", ("p",), settings={"steps": 1})}) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parents": ()}, "has no parent and no model"),
        ({"parents": "train/1.png"}, "is one string"),
        ({"parents": ("/home/x.png",)}, "no relative path"),
        ({"parents": ("",)}, "no relative path"),
        ({"sample": "C:\\x.png"}, "no relative path"),
        ({"sample": ""}, "not empty|''"),
        ({"maker": ""}, "maker of"),
        ({"node": ""}, "node of"),
        ({"model": "abc"}, "model of"),
        ({"model": HASH.upper()}, "model of"),
        ({"seed": 1.0}, "seed of"),
        ({"settings": {"lr": float("nan")}}, "setting 'lr'"),
        ({"settings": {"steps": [1]}}, "setting 'steps'"),
    ],
)
def test_invalid_rows_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(ROWS[1], **changes)


def test_two_rows_about_one_sample():
    with pytest.raises(InputError, match=r"sample 'a/0\.png'"):
        lineage_text([ROWS[1], ROWS[0], ROWS[1]])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "2 is not JSON"),
        ("[]", "2 lacks or adds fields"),
        ('{"sample":"x"}', "2 lacks or adds fields"),
        ('{"sample":"x","maker":"m","parents":["p"],"extra":1}', "2 lacks or adds fields"),
        ('{"sample":"x","maker":"m"}', "2 is not a valid row"),
        ('{"sample":"x","maker":"m","parents":3}', "2 is not a valid row"),
    ],
)
def test_damaged_lines_are_named_by_number(tmp_path, line, message):
    path = tmp_path / "lineage.jsonl"
    path.write_text(lineage_text(ROWS[:1]) + line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_lineage(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_lineage(tmp_path / "none.jsonl")


def test_hash_is_of_names_dtypes_shapes_and_bytes():
    header = json.dumps(["w", "<f4", [2], 8]).encode() + b"\n"
    values = np.array([1.0, -2.0], dtype="<f4")
    expected = hashlib.sha256(header + values.tobytes()).hexdigest()
    assert hash_arrays({"w": values}) == expected
    assert hash_arrays({"w": values.astype(">f4")}) == expected
    assert hash_arrays({"w": np.array([1.0, 9.0, -2.0], dtype="<f4")[::2]}) == expected


def test_hash_tells_every_difference_and_no_other():
    base = {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros((), dtype=np.int64), "c": np.zeros((0, 3))}
    digests = [
        hash_arrays(base),
        hash_arrays({**base, "a": base["a"].reshape(3, 2)}),
        hash_arrays({**base, "a": base["a"].astype(np.float32)}),
        hash_arrays({**base, "a": base["a"] + np.eye(2, 3) * 1e-12}),
        hash_arrays({**base, "b": np.zeros(1, dtype=np.int64)}),
        hash_arrays({**base, "c": np.zeros((3, 0))}),
        hash_arrays({"a": base["b"], "b": base["a"], "c": base["c"]}),
        hash_arrays({"a": base["a"], "b": base["b"]}),
    ]
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 64 for digest in digests)
    assert hash_arrays(dict(reversed(base.items()))) == digests[0]
    assert hash_arrays({**base, "a": np.asfortranarray(base["a"])}) == digests[0]


def test_hash_refuses_objects():
    with pytest.raises(InputError, match="'x' holds Python objects"):
        hash_arrays({"x": np.array([None])})
