"""Random tables in every form that is read, against a plain construction of their rows; and random bytes."""

import gzip
import string
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from periogt_ray.errors import ValidationError
from periogt_ray.tables import csv_table, plain_copy
from periogt_ray.tables.columns import TableOptions
from periogt_ray.tables.parts import PartSize
from periogt_ray.tables.reading import scan_table

# Neither NUL, which is refused, nor lone surrogates, which no encoding holds.
SIGNS = " ,;\t\"'*C()[]\r\n\u00fc\u2028\ufeff=#"
TEXT = st.text(
    st.sampled_from(SIGNS) | st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
    max_size=8,
)
# What the header's names do not decide is not left to chance: other columns have plain names.
NAMES = st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=4).map("x".__add__), max_size=3)


class Drawn(NamedTuple):
    """A table: its bytes, what the user says, and its rows."""

    content: bytes
    options: TableOptions
    rows: list[tuple[str, str, tuple[str, ...]]]


@st.composite
def tables(draw: st.DrawFn) -> Drawn:
    others = draw(NAMES)
    has_id = draw(st.booleans())
    names = draw(st.permutations(["smiles", *(["id"] if has_id else []), *others]))
    delimiter, line_end = draw(st.sampled_from(",;\t")), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    records = draw(st.lists(st.lists(TEXT, min_size=1, max_size=len(names) + 2), max_size=9))
    has_separator = draw(st.booleans())
    text = f"sep={delimiter}{line_end}" if has_separator or (len(names) == 1 and delimiter != ",") else ""
    for record in [names, *records]:
        text += draw(st.sampled_from(["", "", line_end]))
        fields = [quoted(field, delimiter, draw(st.booleans()), alone=len(record) == 1) for field in record]
        text += delimiter.join(fields) + line_end
    if draw(st.booleans()) and not text.endswith('""' + line_end):
        text = text.removesuffix(line_end)
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"]))
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    content = mark + text.encode(encoding)
    if draw(st.booleans()):
        content = gzip.compress(content, mtime=0)
    rows = [expected(record, names, number) for number, record in enumerate(records)]
    return Drawn(content, TableOptions(keeps_columns=True), rows)


def quoted(field: str, delimiter: str, is_quoted: bool, *, alone: bool) -> str:
    if is_quoted or set(field) & {delimiter, '"', "\r", "\n"} or (alone and not field):
        return '"' + field.replace('"', '""') + '"'
    return field


def expected(record: list[str], names: list[str], number: int) -> tuple[str, str, tuple[str, ...]]:
    fields = dict(enumerate(record))
    at = [fields.get(i, "") for i in range(len(names))]
    kept = tuple(value for name, value in zip(names, at, strict=True) if name not in ("smiles", "id"))
    return at[names.index("id")] if "id" in names else str(number), at[names.index("smiles")], kept


def rows_of(content: bytes, options: TableOptions, size: PartSize) -> list[tuple[str, str, tuple[str, ...]]]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "in.csv"
        path.write_bytes(content)
        scan = scan_table(path, options, copies=path.parent, size=size)
        found = [tuple(row) for part in scan.parts for row in scan.table.read(part)]
        assert len(found) == scan.n_rows
        return found  # type: ignore[return-value]


def n_cases(is_full: bool) -> int:
    return 20_000 if is_full else 300


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have line ends, quotes and characters meet the ends of what is read at a time."""
    monkeypatch.setattr(csv_table, "_CHUNK_BYTES", 5)
    monkeypatch.setattr(plain_copy, "_CHUNK_BYTES", 3)


def test_no_row_is_lost_or_invented(is_full: bool, pytestconfig: pytest.Config) -> None:
    @seed(pytestconfig.option.seed)
    @settings(max_examples=n_cases(is_full), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(drawn=tables(), n_rows=st.integers(1, 5))
    def check(drawn: Drawn, n_rows: int) -> None:
        if not drawn.rows:
            with pytest.raises(ValidationError, match="no rows"):
                rows_of(drawn.content, drawn.options, PartSize(n_rows, n_rows))
            return
        assert rows_of(drawn.content, drawn.options, PartSize(n_rows, n_rows)) == drawn.rows

    check()


PIECES = [b"smiles", b"id", b"*CC*", b"sep=", b",", b";", b"\t", b"\n", b"\r", b'"', b"\0", b"\xe4"]
PIECES += [
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\x1f\x8b\x08",
    b"PAR1",
    b"PK\x03\x04",
    gzip.compress(b"smiles\n*CC*\n", mtime=0),
]
HOSTILE = st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join))


def test_whatever_the_bytes_it_is_read_or_refused(is_full: bool, pytestconfig: pytest.Config) -> None:
    options = st.builds(
        TableOptions,
        smiles_column=st.sampled_from([None, "1", "smiles", "S"]),
        id_column=st.sampled_from([None, None, "2"]),
        has_header=st.booleans(),
        keeps_columns=st.booleans(),
    )

    @seed(pytestconfig.option.seed)
    @settings(max_examples=n_cases(is_full), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(content=HOSTILE, chosen=options)
    def check(content: bytes, chosen: TableOptions) -> None:
        try:
            assert rows_of(content, chosen, PartSize(2, 2))
        except ValidationError as error:
            assert "in.csv" in error.message  # noqa: PT017

    check()
