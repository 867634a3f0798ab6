import sys
from datetime import UTC, datetime, timedelta

import pytest

from e2s_tasks.errors import GridError, ZoneError
from e2s_tasks.grid import country as tables
from e2s_tasks.grid.country import average, country, same_zone

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize("zone", ["GB", "gb", "GBR", " UK ", "United Kingdom", "Great Britain", "GB-NIR"])
def test_a_country_goes_by_many_names(zone: str) -> None:
    assert country(zone).code == "GBR"


@pytest.mark.parametrize(
    ("zone", "code"),
    [
        ("DE", "DEU"),
        ("France", "FRA"),
        ("USA", "USA"),
        ("US-CAL-CISO", "USA"),
        ("South Korea", "KOR"),
        ("Czechia", "CZE"),
    ],
)
def test_codes_names_and_zones_of_a_country_are_understood(zone: str, code: str) -> None:
    assert country(zone).code == code


def test_every_country_has_a_plausible_figure_or_none() -> None:
    _, countries = tables._atlas()
    figures = [found.intensity for found in countries.values() if found.intensity is not None]
    assert len(figures) > 200
    assert all(5 < figure < 1500 for figure in figures)


@pytest.mark.parametrize(("zone", "near"), [("Frnace", "FRA (France)"), ("GBX", "GBR (United Kingdom)")])
def test_an_unknown_zone_is_named_with_near_matches(zone: str, near: str) -> None:
    with pytest.raises(ZoneError) as caught:
        country(zone)
    assert repr(zone) in str(caught.value)
    assert near in str(caught.value)


@pytest.mark.parametrize("zone", ["XX", "XX-YY", "US-", "-", "", "world domination"])
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(ZoneError, match="use a country code such as GB, DE or USA"):
        country(zone)


def test_the_average_of_a_country_is_flat_and_labelled() -> None:
    forecast = average("FR", NOW, NOW + timedelta(hours=9))
    assert forecast.slots == (forecast.slots[0],)
    assert forecast.at(NOW + timedelta(hours=5)) == country("FRA").intensity
    assert forecast.signal == "average, life-cycle"
    assert forecast.source.startswith("country average (CodeCarbon 3.")
    assert forecast.source.endswith("FRA, 2023)")


def test_without_a_zone_it_is_the_world_and_says_so() -> None:
    forecast = average(None, NOW, NOW + timedelta(hours=1))
    assert forecast.slots[0].intensity == 475
    assert forecast.source.startswith("world average")
    assert "2018; no zone given" in forecast.source


@pytest.mark.parametrize("zone", ["CAF", "LI"])
def test_a_country_without_a_figure_gets_the_worlds_and_says_so(zone: str) -> None:
    forecast = average(zone, NOW, NOW + timedelta(hours=1))
    assert forecast.slots[0].intensity == 475
    assert f"no figure for {country(zone).name}" in forecast.source


def test_tables_that_are_not_installed_are_a_grid_error() -> None:
    with pytest.raises(GridError, match="reinstall nosuchpackage"):
        tables._read("nosuchpackage", "x.json")


def test_two_names_of_one_zone_are_the_same() -> None:
    assert same_zone("uk", "GBR")
    assert same_zone("AUS_QLD", "aus_qld")
    assert not same_zone("GB", "FR")
    assert not same_zone("Nowhere", "Elsewhere")


def test_codecarbon_is_read_but_never_imported() -> None:
    import subprocess

    code = (
        "import sys; from datetime import datetime, UTC; from e2s_tasks.grid.country import average;"
        "average('GB', datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC));"
        "print([m for m in ('codecarbon', 'pycountry', 'pandas', 'httpx', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
