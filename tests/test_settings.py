"""Settings: read from the environment, refused with the value and the remedy."""

from dataclasses import fields
from pathlib import Path

import pytest

from e2s_tasks.errors import SettingError
from e2s_tasks.settings import Settings, settings, variable

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def fresh():
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_the_environment_wins_over_the_default_and_an_argument_over_both(monkeypatch, fresh):
    monkeypatch.setenv("E2S_TICK_S", "0.25")
    monkeypatch.setenv("E2S_STATIC_POLICY", "SHARE")
    assert (settings().tick_s, settings().static_policy) == (0.25, "share")
    assert Settings(tick_s=2.0).tick_s == 2.0


def test_the_data_directory_stays_where_it_was_when_the_work_goes_elsewhere(monkeypatch, fresh, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("E2S_DATA_DIR", "here")
    assert settings().data_dir == tmp_path / "here"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tick_s", "-1"), ("tick_s", "31"),
        ("tick_s", "soon"), ("tick_s", "nan"), ("static_policy", "mine"), ("cpu_tdp_w", "0"),
        ("cpu_idle_w", "-3"), ("enabled", "perhaps"), ("ledger_url", " "), ("pue", "0.99"), ("pue", "inf"),
        ("tariff", "0.25"), ("tariff", "EUR"), ("tariff", "-1 EUR"), ("tariff", "1e999 EUR"), ("embodied_kg", "-1"),
        ("lifetime_years", "0"), ("reserved_share", "0"), ("reserved_share", "1.1"), ("reference_accuracy", "0"),
        ("reference_j", "nan"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_used_is_named_with_its_variable(monkeypatch, fresh, name, value):
    monkeypatch.setenv(variable(name), value)
    with pytest.raises(SettingError) as caught:
        settings()
    assert variable(name) in str(caught.value)
    assert repr(value) in str(caught.value)
    assert "give" in str(caught.value)


@pytest.mark.parametrize("text", ["0.25 EUR", "0.25eur", " .25 EUR/kWh ", "0.25 Eur / kWh"])
def test_a_tariff_is_a_price_and_a_currency(text):
    declared = Settings(tariff=text).declared
    assert (declared.tariff, declared.currency) == (0.25, "EUR")


def test_the_readme_lists_every_setting():
    text = README.read_text()
    for one in fields(Settings):
        assert f"| `{variable(one.name)}` | {one.metadata['meaning']} |" in text
