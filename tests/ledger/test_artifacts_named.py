"""An artifact is found by what people type."""

import pytest

from e2s_tasks.core.records import VersionRecord
from e2s_tasks.errors import NotFoundError
from e2s_tasks.ledger import Ledger


@pytest.mark.parametrize(
    "typed", ["数据 été.parquet", "%E6%95%B0%E6%8D%AE%20%C3%A9t%C3%A9.parquet", "lake/数据 été.parquet"]
)
def test_a_name_with_spaces_and_letters_of_any_kind_is_found_from_anywhere(typed, tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    uri = (tmp_path / "lake" / "数据 été.parquet").as_uri()
    ledger.ingest([VersionRecord("v", uri, "s", "r", 1.0), VersionRecord("w", "file:///other.parquet", "s", "r", 1.0)])
    assert ledger.find_artifact(typed) == uri
    with pytest.raises(NotFoundError):
        ledger.find_artifact("été 数据.parquet")
