"""The dated table of movement factors, and how one is chosen."""

import json

import pytest

from e2s_tasks.errors import SettingError
from e2s_tasks.io.factors import OWN_TABLE, factors, movement, movement_sources, table
from e2s_tasks.settings import Settings


def test_every_factor_lies_in_its_range_and_names_its_year_and_source():
    found = table()
    assert found.as_of >= "2026-01-01"
    for factor in found.factors:
        assert 0 < factor.low <= factor.value <= factor.high
        assert factor.year >= 2015
        assert factor.source
    assert {factor.component for factor in found.factors} == {"network", "storage", "dram", "at rest"}


def test_movement_is_always_modelled_with_a_range():
    sources = {source.component: source for source in movement_sources()}
    assert set(sources) == {"storage", "network"}
    for source in sources.values():
        assert source.provenance == "modelled"
        assert source.low <= 1 <= source.high
    assert (sources["storage"].low, sources["storage"].high) == (0.5, 2.0)


@pytest.mark.parametrize(
    ("name", "joules"), [(None, 240), ("marginal", 240), ("data-centres", 3600), ("Wide-Area", 4770)]
)
def test_a_setting_chooses_the_factor_of_the_network(name, joules):
    assert factors(Settings(network_factor=name))["network"].joules(1_000_000_000) == joules


def test_a_gigabyte_from_a_local_disk_is_less_than_a_joule():
    assert factors()["storage"].joules(1_000_000_000) == pytest.approx(0.8)


def test_what_is_switched_off_is_absent_and_not_0(monkeypatch):
    options = Settings(network_factor="none", storage_factor="none")
    assert factors(options) == {}
    for source in movement_sources(options):
        assert (source.provenance, source.absent) == ("missing", True)
        assert "_FACTOR=none" in source.detail
    monkeypatch.setattr("e2s_tasks.io.factors.settings", lambda: options)
    assert movement("network", 10**9).network is None


@pytest.mark.parametrize("medium", ["network", "storage"])
def test_an_unknown_name_is_answered_with_the_choices(medium):
    with pytest.raises(SettingError, match=f"E2S_{medium.upper()}_FACTOR='x' cannot be used: give one of .*, none"):
        movement_sources(Settings(**{f"{medium}_factor": "x"}))


def own(folder, **changes):
    content = json.loads(OWN_TABLE.read_text())
    content["factors"][0] |= changes
    (folder / "own.json").write_text(json.dumps(content))
    return folder / "own.json"


def test_another_table_takes_the_place_of_ours(tmp_path):
    path = own(tmp_path, name="campus", value=500.0)
    found = factors(Settings(factors=path, network_factor="campus"))
    assert found["network"].joules(1e9) == 500
    with pytest.raises(SettingError, match="give one of campus, data-centres, wide-area, none"):
        factors(Settings(factors=path, network_factor="marginal"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"value": -1.0}, "low <= value <= high"), ({"high": 1.0}, "low <= value <= high"),
        ({"value": "much"}, "are numbers"), ({"unit": "kWh/GB"}, "is not J/GB"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_is_named_with_what_is_wrong(changes, said, tmp_path):
    with pytest.raises(SettingError, match=rf"E2S_FACTORS='.*own\.json' cannot be used.*{said}"):
        factors(Settings(factors=own(tmp_path, **changes)))


def test_a_table_that_is_not_there_or_no_table_is_named(tmp_path):
    with pytest.raises(SettingError, match=r"E2S_FACTORS=.*none\.json"):
        factors(Settings(factors=tmp_path / "none.json"))
    (tmp_path / "x.json").write_text('{"factors": [{"name": "a"}]}')
    with pytest.raises(SettingError, match=r"no 'component'"):
        factors(Settings(factors=tmp_path / "x.json"))
