"""An artifact is found by what people type."""

import pytest

from e2s_tasks.core.records import CALLED, VersionRecord
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


def test_an_artifact_is_found_by_what_an_orchestrator_calls_it(ledger, span, version):
    called = [["sales", "s3://b/day/sales.parquet"], ['a "big" one', "s3://b/big"], ["none", "s3://b/never-made"]]
    ledger.ingest([span("a", attributes={CALLED: called}), span("b", attributes={CALLED: [["sales", "s3://b/other"]]})])
    ledger.ingest([span("c"), version("s3://b/day/sales.parquet", 1.0), version("s3://b/big", 1.0)])
    assert ledger.find_artifact("sales") == "s3://b/day/sales.parquet"
    assert ledger.find_artifact('a "big" one') == "s3://b/big"
    with pytest.raises(NotFoundError):
        ledger.find_artifact("none")
    ledger.ingest([version("s3://b/other", 2.0)])
    with pytest.raises(NotFoundError, match="any of 2 artifacts"):
        ledger.find_artifact("sales")


def test_the_end_of_one_address_and_the_name_of_another_artifact_are_told_as_several(ledger, span, version):
    ledger.ingest([span("a", attributes={CALLED: [["prod", "s3://other/y"]]})])
    ledger.ingest([version("s3://other/y", 1.0), version("s3://b/prod", 2.0)])
    with pytest.raises(NotFoundError, match="any of 2 artifacts") as raised:
        ledger.find_artifact("prod")
    assert set(raised.value.suggestions) == {"s3://other/y", "s3://b/prod"}
    ledger.ingest([version("prod", 3.0)])
    assert ledger.find_artifact("prod") == "prod"


def test_an_artifact_is_found_by_its_name_if_that_is_the_end_of_its_own_address(ledger, span, version):
    ledger.ingest([span("a", attributes={CALLED: [["prod", "asset:/prod"]]}), version("asset:/prod", 1.0)])
    assert ledger.find_artifact("prod") == "asset:/prod"
