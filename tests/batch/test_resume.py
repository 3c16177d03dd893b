import errno
from pathlib import Path

import pytest

from periogt_ray.batch.parts import PartsDirectory
from periogt_ray.batch.results import FinishedPart
from periogt_ray.batch.resume import BatchRecord
from periogt_ray.errors import ValidationError
from periogt_ray.tables.parts import PartSize


def test_a_record_comes_back_for_a_run_that_goes_on(tmp_path: Path) -> None:
    parts = PartsDirectory(tmp_path / "o.csv")
    record = BatchRecord({"properties": ["tg"], "version": "0"}, part_size=PartSize(4, 64), device="cpu")
    with parts.held():
        assert BatchRecord.read(parts, is_resumed=True) is None
        record.keep(parts)
        assert BatchRecord.read(parts, is_resumed=True) == record
        assert BatchRecord.read(parts, is_resumed=False) is None, "nothing is lost"
        parts.write(FinishedPart(0, [], {}))
        with pytest.raises(ValidationError, match=r"1 finished parts .* --resume"):
            BatchRecord.read(parts, is_resumed=False)


def test_a_record_that_is_damaged_or_of_another_form_is_refused(tmp_path: Path) -> None:
    parts = PartsDirectory(tmp_path / "o.csv")
    with parts.held():
        parts.begin({"device": "cpu", "rows_per_part": 4})
        with pytest.raises(ValidationError, match="start over"):
            BatchRecord.read(parts, is_resumed=True)
        (parts.path / "record.json").write_text('{"basis": ')
        with pytest.raises(ValidationError, match="is not JSON"):
            BatchRecord.read(parts, is_resumed=True)


def test_only_what_fails_at_the_output_is_told_as_such(tmp_path: Path) -> None:
    def failed(path: Path | None) -> None:
        with PartsDirectory(tmp_path / "o.csv").held():
            raise PermissionError(errno.EACCES, "Permission denied", *([] if path is None else [str(path)]))

    for path in (None, tmp_path / "out.csv.parts" / "0"):
        with pytest.raises(ValidationError, match="failed: Permission denied"):
            failed(path)
    with pytest.raises(PermissionError):
        failed(Path("/weights/base.pth"))
