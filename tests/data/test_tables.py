"""Tables in memory and in files."""

from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pytest
import torch

from gradtape.data import alike, from_points, from_table, holds_table, labels_of, read_points, read_table
from gradtape.data.tables import missing
from gradtape.errors import DataError, InputError

NAN = float("nan")


def as_lists(table):
    return {
        name: [None if gap else cell for cell, gap in zip(table.columns[name].tolist(), missing(column), strict=True)]
        for name, column in table.columns.items()
    }


@pytest.mark.parametrize(
    ("X", "wanted"),
    [
        (np.array([[1.0, 2.0], [NAN, 4.0]]), {"x0": [1.0, None], "x1": [2.0, 4.0]}),
        (np.array([[1, 2], [3, 4]], dtype=np.uint8), {"x0": [1.0, 3.0], "x1": [2.0, 4.0]}),
        (torch.tensor([[0.5, 2.0]]), {"x0": [0.5], "x1": [2.0]}),
        ([[1, "a"], [None, "b"]], {"x0": [1.0, None], "x1": ["a", "b"]}),
        ([[True, 2.0], [False, "b"]], {"x0": [1.0, 0.0], "x1": ["2", "b"]}),
        (np.array([[1, "a"], ["?", "b"]]), {"x0": [1.0, None], "x1": ["a", "b"]}),
        (np.array([[Decimal("0.5"), None], [np.float32(2), None]], dtype=object), {"x0": [0.5, 2.0], "x1": [None] * 2}),
    ],
)
def test_whatever_has_rows_and_columns_is_read(X, wanted):
    table = from_table(X)
    assert as_lists(table) == wanted
    assert table.names == tuple(wanted)
    assert table.form == "array"
    for name in table.numeric:
        assert table.column(name).dtype == np.float64


def test_a_frame_of_pandas_with_every_kind_of_column():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "whole": pandas.array([1, None, 3], dtype="Int64"),
            "code": pandas.Categorical([10, 20, None]),
            "word": ["x", None, "y"],
            "truth": [True, False, True],
            "maybe": pandas.array([True, None, False], dtype="boolean"),
            "string": pandas.array(["q", None, "r"], dtype="string"),
            "both": [1, "a", 2.5],
        }
    )
    table = from_table(frame, name="mixed")
    assert as_lists(table) == {
        "whole": [1.0, None, 3.0],
        "code": ["10", "20", None],
        "word": ["x", None, "y"],
        "truth": [1.0, 0.0, 1.0],
        "maybe": [1.0, None, 0.0],
        "string": ["q", None, "r"],
        "both": ["1", "a", "2.5"],
    }
    assert table.form == "pandas"
    assert table.text == ("code", "word", "string", "both")
    assert repr(table) == "Table('mixed': 3 rows of 7 columns, 4 of text)"
    with pytest.raises(DataError, match="dates or times in row 0 of column 'when'"):
        from_table(pandas.DataFrame({"when": pandas.to_datetime(["2020-01-01"])}))


def test_a_frame_of_polars():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": [1, None], "b": ["x", None], "c": [True, None]})
    table = from_table(frame)
    assert (table.form, as_lists(table)) == ("polars", {"a": [1.0, None], "b": ["x", None], "c": [1.0, None]})


@pytest.mark.parametrize(
    ("X", "said"),
    [
        ([[1.0, 2.0], [3.0, float("inf")]], "X has inf in row 1 of column 1: leave it empty or out"),
        (
            [[1.0], [datetime.date(2020, 1, 2)]],
            r"X has a date or time in row 1 of column 0 \(2020-01-02\): give numbers",
        ),
        ([["a"], [{}]], "X has a dict in row 1 of column 0: give numbers and text only"),
        ([["a"], [1j]], "X has a complex in row 1 of column 0"),
        ([1.0, 2.0], r"X has shape \(2,\): give points as \(n, columns\)"),
        (np.empty((0, 3)), r"X has shape \(0, 3\)"),
        (torch.zeros(2, 2, requires_grad=True), "X of type Tensor cannot be read as an array"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(X, said):
    with pytest.raises((DataError, InputError), match=said):
        from_table(X)


def test_rows_and_columns_are_taken():
    table = from_table([[1, "a"], [2, "b"], [3, "c"]])
    assert as_lists(table.take(np.array([False, True, True]))) == {"x0": [2.0, 3.0], "x1": ["b", "c"]}
    assert as_lists(table.without("x1").take([2, 0])) == {"x0": [3.0, 1.0]}
    with pytest.raises(InputError, match="data has no column 'x2': give one of x0, x1"):
        table.without("x2")


@pytest.mark.parametrize(
    ("cells", "kind", "wanted"),
    [([1, 0], "i", [1, 0]), ([0.5, 2], "f", [0.5, 2.0]), (["yes", "no"], "U", ["yes", "no"])],
)
def test_labels_leave_the_table(cells, kind, wanted):
    rest, labels = labels_of(from_table([[7, cell] for cell in cells]), "x1")
    assert rest.names == ("x0",)
    assert (labels.dtype.kind, labels.tolist()) == (kind, wanted)


def test_labels_are_all_there_or_none_is():
    table = from_table([[7, 1, None], [8, None, None]])
    assert labels_of(table, "x2")[1] is None
    with pytest.raises(DataError, match="data has no label 'x1' in row 1: fill it in or leave this row out"):
        labels_of(table, "x1")
    with pytest.raises(InputError, match="data has no column but 'x0'"):
        labels_of(from_table([[1]]), "x0")


def test_domains_get_columns_of_one_kind_in_one_order():
    first = from_table([[1, 5], [None, 6]], name="a")
    second = from_table([["many", 7], ["2", 8]], name="b")
    swapped = second.without("x0", "x1")
    swapped.columns.update(x1=second.column("x1"), x0=second.column("x0"))
    one, other = alike(first, swapped)
    assert as_lists(one) == {"x0": ["1", None], "x1": [5.0, 6.0]}
    assert list(as_lists(other).items()) == [("x0", ["many", "2"]), ("x1", [7.0, 8.0])]
    for tables in ((first, second.without("x1")), (first.without("x1"), second)):
        with pytest.raises(DataError, match=r"[ab] has a column 'x1' that [ab] has not: give all domains the same"):
            alike(*tables)


CSV = """age, kind ,score
3, cat ,1.5

?,"dog, big",NA
5,,nan
"""


def test_a_csv_of_numbers_text_and_gaps(tmp_path):
    path = tmp_path / "pets.csv"
    path.write_text("\ufeff" + CSV, encoding="utf-8")
    table, labels = read_table(path)
    assert as_lists(table) == {"age": [3.0, None, 5.0], "kind": ["cat", "dog, big", None], "score": [1.5, None, None]}
    assert (table.name, labels) == ("pets", None)
    with pytest.raises(DataError, match=r"pets.csv: pets has no label 'age' in line 4"):
        read_table(path, target="age")
    with pytest.raises(DataError, match=r"pets.csv: pets has no column 'agee', did you mean 'age'\?"):
        read_table(path, target="agee")


def test_a_csv_of_numbers_alone_needs_no_names(tmp_path):
    path = tmp_path / "plain.data"
    path.write_text("1,?,0\n2,0.5,1\n")
    table, labels = read_table(path, target="x2")
    assert as_lists(table) == {"x0": [1.0, 2.0], "x1": [None, 0.5]}
    assert labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("a,b\n", "has a line of names and no rows"),
        ("a,b\n1,2\n\n1,2,3\n", "has 3 cells in line 4 and 2 in line 1"),
        ("a,a\n1,2\n", "has two columns named 'a'"),
        (",a\n0,2\n", r"has no name for column 1 in line 1: name it .*index=False"),
        ("a\n1\ninf\n", "has inf in line 3 of column 'a'"),
        ('a\n"1\n', "is no .csv"),
    ],
)
def test_a_damaged_csv_is_refused_with_its_line(tmp_path, text, said):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=f"bad.csv {said}"):
        read_table(path)


def test_a_parquet_is_the_same_table(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "pets.parquet"
    columns = {
        "age": pyarrow.array([3, None, 5]),
        "kind": pyarrow.array(["cat", "dog", None]),
        "code": pyarrow.array(["v", "w", None]).dictionary_encode(),
        "calm": pyarrow.array([True, False, True]),
    }
    pq.write_table(pyarrow.table(columns), path)
    table, labels = read_table(path, target="calm")
    assert as_lists(table) == {"age": [3.0, None, 5.0], "kind": ["cat", "dog", None], "code": ["v", "w", None]}
    assert labels.tolist() == [1, 0, 1]
    pq.write_table(pyarrow.table({"when": pyarrow.array([0], pyarrow.date32())}), path)
    with pytest.raises(DataError, match=r"pets.parquet has (dates|a date) or times? in row 0 of column 'when'"):
        read_table(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"pets.parquet is no .parquet"):
        read_table(path)


def test_arrays_in_files(tmp_path):
    X = np.array([[1.0, NAN], [3.0, 4.0]])
    np.savez(tmp_path / "with.npz", X=X, y=np.array(["b", "a"]))
    np.save(tmp_path / "alone.npy", X)
    np.savez(tmp_path / "other.npz", z=X)
    table, labels = read_table(tmp_path / "with.npz")
    assert as_lists(table) == {"x0": [1.0, 3.0], "x1": [None, 4.0]}
    assert labels.tolist() == ["b", "a"]
    assert labels.shape == (2,)
    assert read_table(tmp_path / "alone.npy", target="x0")[1].tolist() == [1, 3]
    with pytest.raises(DataError, match=r"other.npz has no array named X or points"):
        read_table(tmp_path / "other.npz")
    np.savez(tmp_path / "short.npz", X=X, y=np.array([1]))
    with pytest.raises(DataError, match=r"short.npz has y of shape \(1,\) and 2 rows"):
        read_table(tmp_path / "short.npz")


def test_which_files_hold_tables(tmp_path):
    for name in ("a.csv", "a.data", "a.parquet", "a.txt", "a.npz"):
        (tmp_path / name).write_bytes(b"")
    found = {path.name for path in tmp_path.iterdir() if holds_table(path)}
    assert found == {"a.csv", "a.data", "a.parquet"}
    assert not holds_table(tmp_path / "absent.csv")


def test_points_are_still_numbers_alone(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("a,b\n1,2\n3,4.5\n")
    points, _ = read_points(path)
    assert (points.columns, points.dtypes, points.values.tolist()) == (
        ("a", "b"),
        ("int64", "float64"),
        [[1.0, 2.0], [3.0, 4.5]],
    )
    with pytest.raises(DataError, match="X has text in row 0 of column 1 .'x'."):
        from_points(np.array([[1, "x"]], dtype=object))
    assert from_points([[1, 2]]).dtypes == ("int64", "int64")
