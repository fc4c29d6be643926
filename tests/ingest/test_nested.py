"""A path in the catalog leads to values inside nested columns, whatever form Parquet gives to them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from ingest.layers import nested

STEP = pa.struct([("kind", pa.string()), ("key", pa.string()), ("size", pa.int32())])
BATCH = pa.RecordBatch.from_arrays(
    [
        pa.array(["a", None, "c", "d"]),
        pa.array(
            [
                {"primary": "Ö", "common": [("en", "O"), ("sv", "Ö"), ("de", "O")]},
                None,
                {"primary": None},
                {"common": []},
            ],
            pa.struct([("primary", pa.string()), ("common", pa.map_(pa.string(), pa.string()))]),
        ),
        pa.array(
            [
                [[("land", "1", 7), ("isle", "2", 8), ("shire", "3", None)], [("shire", "9", 1)]],
                [],
                None,
                [[("isle", "2", 8), (None, "x", 0)]],
            ],
            pa.list_(pa.list_(STEP)),
        ),
        pa.array([["b", "a", "b", None, ""], ["|"], [], None], pa.list_(pa.string())),
        pa.array([1, 2, 3, 4]),
    ],
    names=["plain", "names", "chains", "words", "names.primary.x"],
)
PATHS: list[tuple[str, list[Any]]] = [
    ("plain", ["a", None, "c", "d"]),
    ("names.primary.x", [1, 2, 3, 4]),
    ("names.primary", ["Ö", None, None, None]),
    ("names.common.en", ["O", None, None, None]),
    ("names.common.fr", [None] * 4),
    ("names.common.*", ["O|Ö", None, None, None]),
    ("words[*]", ["b|a", "|", None, None]),
    ("words[0]", ["b", "|", None, None]),
    ("words[-1]", ["", "|", None, None]),
    ("words[4]", ["", None, None, None]),
    ("chains[0][-1].key", ["3", None, None, "x"]),
    ("chains[1][0].size", [1, None, None, None]),
    ("chains[0][kind=land|isle][-1].key", ["2", None, None, "2"]),
    ("chains[0][kind=shire][0].size", [None] * 4),
    ("chains[0][kind=land][kind=isle][0].key", [None] * 4),
    ("chains[*][kind=shire][0].key", ["3|9", None, None, None]),
    ("chains[*][*].size", ["7|8|1", None, None, "8|0"]),
]


@pytest.mark.parametrize(("path", "wanted"), PATHS)
def test_a_path_leads_to_values(path: str, wanted: list[Any]) -> None:
    assert nested.leads_to_value(BATCH.schema, path)
    assert nested.values(BATCH, path).to_pylist() == wanted


@pytest.mark.parametrize(("path", "wanted"), PATHS)
def test_a_part_of_a_batch_has_its_own_values(path: str, wanted: list[Any]) -> None:
    for first in range(5):
        assert nested.values(BATCH.slice(first, 2), path).to_pylist() == wanted[first : first + 2]


@pytest.mark.parametrize(
    "path",
    [
        "nothing",
        "nothing.at.all",
        "names",
        "names.nothing",
        "names[0]",
        "names.*",
        "names.common",
        "names.common[0]",
        "names.common[*]",
        "names.primary.y",
        "plain[0]",
        "plain.*",
        "words.*",
        "words",
        "words[kind=a]",
        "chains[0]",
        "chains[0].key",
        "chains[kind=land][0].key",
        "chains[0][nothing=land][0].key",
        "chains[0][size=7][0].key",
    ],
)
def test_a_path_that_leads_to_no_value_is_told_from_the_types(path: str) -> None:
    assert not nested.leads_to_value(BATCH.schema, path)


@pytest.mark.parametrize("name", ["GID_0", "a b", "name.", "a..b", "a[", "a[x]", "a[*", ".a", "a.*x", "a[=b]"])
def test_a_name_is_a_path_only_if_all_of_it_is(name: str) -> None:
    assert not nested.is_path(name)


@pytest.mark.parametrize("path", [path for path, _ in PATHS[2:]])
def test_what_leads_to_a_value_is_a_path(path: str) -> None:
    assert nested.is_path(path)


@pytest.mark.parametrize(
    "kind",
    [
        pa.large_list(pa.large_string()),
        pa.list_(pa.string_view()),
        pa.list_(pa.dictionary(pa.int32(), pa.string())),
        pa.list_(pa.string(), 2),
    ],
    ids=str,
)
def test_other_forms_of_lists_and_texts_have_the_same_values(kind: pa.DataType) -> None:
    values = [["a", "b"], None, ["b", "b"]]
    plain = pa.array(values, pa.list_(pa.string()))
    try:
        column = plain.cast(kind)
    except pa.ArrowNotImplementedError:
        column = pa.array(values, kind)
    batch = pa.RecordBatch.from_arrays([column], names=["words"])
    assert nested.leads_to_value(batch.schema, "words[*]")
    assert nested.values(batch, "words[*]").to_pylist() == ["a|b", None, "b"]
    assert nested.values(batch, "words[1]").to_pylist() == ["b", None, "b"]


def test_no_rows_have_no_values() -> None:
    for path, _ in PATHS:
        assert len(nested.values(BATCH.slice(0, 0), path)) == 0
