"""KPIs, worked out by hand: 2 kWh for 1000 predictions, of which 800 are valid and 500 accurate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2s_tasks.core.declared import Declared
from e2s_tasks.core.kpi import (
    NO_HARDWARE,
    NO_OUTCOME,
    NO_PUE,
    WITHOUT_HARDWARE,
    Achieved,
    Figure,
    Spent,
    kpis,
    over_runs,
    undefined,
)

YEAR = 365.25 * 86400
DECLARED = Declared(
    pue=1.5, tariff=0.25, currency="EUR", embodied_kg=1000.0, lifetime_years=4.0, reserved_share=0.5,
    reference_accuracy=0.4, reference_j=3600.0,
)  # fmt: skip


def achieved(**counts):
    given = {"units": 1000.0, "valid": 800.0, "accurate": 500.0, "accuracy": 0.5} | counts
    figures = {name: None if value is None else Figure(value) for name, value in given.items()}
    return Achieved(name="prediction", evaluated_on=("scored.parquet v3 (sha256:ab)",), **figures)


def spent(joules=7.2e6, **more):
    given = {"intensity": Figure(400.0), "embodied": Figure(300.0), "declared": DECLARED} | more
    return Spent(energy=Figure(joules, None if joules is not None else "the energy is missing"), **given)


def named(found):
    return {one.name: one for one in found}


BY_HAND = {
    "joules_per_prediction": (7200.0, "J", 7.2e6, 1000.0),
    "joules_per_valid_prediction": (9000.0, "J", 7.2e6, 800.0),
    "joules_per_accurate_prediction": (14400.0, "J", 7.2e6, 500.0),
    "wh_per_prediction": (2.0, "Wh", 2000.0, 1000.0),
    "kwh_per_prediction": (0.002, "kWh", 2.0, 1000.0),
    "kwh_per_valid_prediction": (0.0025, "kWh", 2.0, 800.0),
    "prediction_per_joule": (1 / 7200, "1/J", 1000.0, 7.2e6),
    "accurate_prediction_per_kwh": (250.0, "1/kWh", 500.0, 2.0),
    "accuracy_per_kwh_of_prediction": (0.25, "1/kWh", 0.5, 2.0),
    "accuracy_per_joule_per_prediction": (0.5 / 7200, "1/J", 500.0, 7.2e6),
    "efficiency_ratio_of_prediction": ((0.5 / 0.4) / (7200 / 3600), "", 1250.0, 2000.0),
    "carbon_per_prediction": ((2 * 1.5 * 400 + 300) / 1000, "gCO2eq", 1500.0, 1000.0),
    "sci_per_prediction": ((2 * 1.5 * 400 + 300) / 1000, "gCO2eq", 1500.0, 1000.0),
    "cost_per_prediction": (2 * 1.5 * 0.25 / 1000, "EUR", 0.75, 1000.0),
}


def test_each_kpi_is_what_it_is_by_hand():
    found = named(kpis(achieved(), spent()))
    assert set(found) == set(BY_HAND)
    for name, expected in BY_HAND.items():
        one = found[name]
        assert (one.value, one.unit, one.numerator, one.denominator) == (
            pytest.approx(expected[0]), expected[1], pytest.approx(expected[2]), pytest.approx(expected[3]),
        ), name  # fmt: skip
        assert one.reason is None


def test_embodied_carbon_is_the_hosts_by_time_and_share():
    assert DECLARED.embodied_g(YEAR) == pytest.approx(1e6 / 4 * 0.5)
    assert Declared(embodied_kg=8766.0, lifetime_years=1.0).embodied_g(3600.0) == pytest.approx(1000.0)
    assert Declared(embodied_kg=1000.0).embodied_g(3600.0) is None
    assert Declared(embodied_kg=0.0, lifetime_years=4.0).embodied_g(3600.0) == 0.0


def test_without_an_outcome_joules_per_unit_is_undefined_and_says_how_to_record_one():
    one = undefined(spent())
    assert (one.value, one.numerator, one.denominator) == (None, 7.2e6, None)
    assert one.reason == NO_OUTCOME
    assert "record_outcome" in one.reason


def test_zero_accurate_predictions_are_undefined_never_0_and_never_infinite():
    found = named(kpis(achieved(accurate=0.0, accuracy=0.0), spent()))
    for name, one in found.items():
        if "accura" in name or "efficiency" in name:
            assert one.value is None, name
            assert "there was no accura" in one.reason or "reference's accuracy" in one.reason
        else:
            assert one.value > 0, name


@pytest.mark.parametrize(
    ("lacking", "names", "said"),
    [
        ({"joules": None}, set(BY_HAND), "the energy is missing"),
        ({"joules": 0.0}, {"prediction_per_joule", "accuracy_per_kwh_of_prediction"}, "no energy was used"),
        ({"intensity": Figure(None, "no intensity")}, {"carbon_per_prediction", "sci_per_prediction"}, "no intensity"),
        ({"embodied": Figure(None, NO_HARDWARE)}, {"sci_per_prediction"}, "E2S_EMBODIED_KG"),
        ({"declared": Declared()}, {"cost_per_prediction"}, "E2S_TARIFF"),
        ({"declared": Declared()}, {"efficiency_ratio_of_prediction"}, "E2S_REFERENCE_ACCURACY"),
    ],
)
def test_what_is_not_known_leaves_a_kpi_undefined_with_the_reason(lacking, names, said):
    found = named(kpis(achieved(), spent(**lacking)))
    for name in names:
        assert found[name].value is None, name
        assert said in found[name].reason


def test_carbon_without_declared_hardware_or_pue_is_operational_carbon_as_the_emissions_are_and_says_so():
    undeclared = Declared(tariff=0.25, currency="EUR")
    spending = spent(declared=undeclared, embodied=Figure(None, NO_HARDWARE))
    found = named(kpis(achieved(), spending))
    one = found["carbon_per_prediction"]
    assert (one.value, one.lower_bound, one.bounds) == (pytest.approx(2 * 400 / 1000), False, ())
    assert one.numerator == spending.operational.value
    assert {NO_PUE, WITHOUT_HARDWARE} <= set(one.rests_on)
    assert found["sci_per_prediction"].reason == NO_HARDWARE


def test_carbon_of_which_a_part_of_the_declared_hardware_is_not_known_is_a_lower_bound():
    one = named(kpis(achieved(), spent(embodied=Figure(None, "of earlier runs"))))["carbon_per_prediction"]
    assert (one.lower_bound, one.bounds) == (True, ("of earlier runs",))


def test_an_energy_that_is_a_lower_bound_bounds_what_is_gained_per_energy_from_above():
    found = named(kpis(achieved(), spent(bounds=("no figure for gpu in 2 spans",))))
    assert {name for name, one in found.items() if one.lower_bound} | {
        name for name, one in found.items() if one.upper_bound
    } == set(BY_HAND)
    assert found["joules_per_prediction"].lower_bound
    assert found["prediction_per_joule"].upper_bound
    assert not found["prediction_per_joule"].lower_bound


def test_accuracy_per_kwh_names_its_evaluation_data_and_that_it_halves_with_twice_as_much():
    caveat = named(kpis(achieved(), spent()))["accuracy_per_kwh_of_prediction"].caveat
    assert "1,000 predictions" in caveat
    assert "scored.parquet v3 (sha256:ab)" in caveat
    assert "halves" in caveat


def test_declared_inputs_stand_with_the_kpis_that_use_them_only():
    found = named(kpis(achieved(), spent(rests_on=("energy modelled: cpu",))))
    assert found["joules_per_prediction"].rests_on == ("energy modelled: cpu",)
    assert any("0.25 EUR" in said for said in found["cost_per_prediction"].rests_on)
    assert any("1000 kgCO2e over 4 years, 0.5 of the host" in said for said in found["sci_per_prediction"].rests_on)
    assert any("PUE 1.5" in said for said in found["carbon_per_prediction"].rests_on)


amounts = st.none() | st.just(0.0) | st.floats(1e-6, 1e9)


@given(amounts, amounts, amounts, amounts, amounts)
def test_a_kpi_is_either_above_0_or_undefined_with_a_reason(joules, units, accurate, intensity, embodied):
    counts = {"units": Figure(units, "unknown units"), "accurate": Figure(accurate, "unknown accurate")}
    of = Achieved(name="unit", accuracy=Figure(accurate, "unknown"), **counts)
    given_ = {"intensity": Figure(intensity, "no intensity"), "embodied": Figure(embodied, "no hardware")}
    for one in [*kpis(of, spent(joules, **given_)), *over_runs([kpis(of, spent(joules, **given_))])]:
        assert (one.value is None) == (one.reason is not None)
        if one.value == 0:  # nothing was spent, which somebody measured
            assert one.numerator == 0
            assert not one.inverse


@given(st.floats(1.0, 1e12), st.floats(1.0, 1e9))
def test_joules_wh_kwh_and_units_per_joule_tell_the_same(joules, units):
    found = named(kpis(achieved(units=units), spent(joules)))
    per_unit = found["joules_per_prediction"].value
    assert found["wh_per_prediction"].value * 3600 == pytest.approx(per_unit)
    assert found["kwh_per_prediction"].value * 3.6e6 == pytest.approx(per_unit)
    assert 1 / found["prediction_per_joule"].value == pytest.approx(per_unit)


def test_a_count_too_small_to_divide_by_leaves_it_undefined_and_never_infinite():
    tiny = kpis(achieved(units=5e-324), spent())
    for one in (*tiny, *over_runs([tiny, tiny])):
        assert one.value is None or one.value < float("inf")
    assert named(tiny)["joules_per_prediction"].reason == "4.94066e-324 is too little to divide by"


def test_over_runs_a_kpi_is_the_ratio_of_the_sums_not_the_mean_of_the_ratios():
    one, other = kpis(achieved(units=100.0), spent(1000.0)), kpis(achieved(units=300.0), spent(1500.0))
    found = named(over_runs([one, other]))["joules_per_prediction"]
    assert (found.value, found.numerator, found.denominator, found.runs) == (6.25, 2500.0, 400.0, 2)
    assert found.interval.level == 0.95


def test_over_runs_what_lacks_a_figure_is_left_out_of_both_sums_and_said():
    lacking = Achieved(name="prediction", units=Figure(None, "it recorded no prediction"))
    found = named(over_runs([kpis(achieved(), spent(1000.0)), kpis(lacking, spent(5000.0))]))["joules_per_prediction"]
    assert (found.value, found.runs) == (1.0, 1)
    assert found.left_out == ("1 run: it recorded no prediction",)
    assert "at least 2 runs" in found.interval.reason


def fruitless(**given):
    return kpis(achieved(units=0.0, valid=0.0, accurate=0.0, accuracy=0.0), spent(**given))


def test_over_runs_without_a_failed_one_of_unknown_energy_every_kpi_is_a_bound_and_says_why():
    found = named(over_runs([kpis(achieved(), spent()), fruitless(joules=None)]))
    for one in found.values():
        assert (one.lower_bound, one.upper_bound) == (not one.inverse, one.inverse), one.name
        assert one.bounds == ("without 1 run that achieved nothing: the energy is missing",)
        assert one.left_out == ("1 run: the energy is missing",)
        assert one.value == pytest.approx(BY_HAND[one.name][0])
    completed = kpis(achieved(), spent(joules=None))  # which is in neither sum
    assert not named(over_runs([kpis(achieved(), spent()), completed]))["joules_per_prediction"].lower_bound


def test_over_runs_of_which_some_declare_less_carbon_is_a_lower_bound():
    less = spent(declared=Declared(), embodied=Figure(None, NO_HARDWARE))
    mixed = named(over_runs([kpis(achieved(), spent()), kpis(achieved(), less)]))["carbon_per_prediction"]
    assert mixed.lower_bound
    assert mixed.bounds == (f"of 1 run {NO_PUE}", f"of 1 run {WITHOUT_HARDWARE}")
    alike = named(over_runs([kpis(achieved(), less)] * 2))["carbon_per_prediction"]
    assert (alike.lower_bound, alike.bounds) == (False, ())


def test_over_runs_an_accuracy_is_a_mean_by_units_over_the_energy_of_a_run_that_has_one():
    runs = [(100.0, 0.9, 1.8e6), (300.0, 0.5, 3.6e6), (0.0, 0.0, 1.8e6)]
    found = [kpis(achieved(units=units, accuracy=share), spent(joules)) for units, share, joules in runs]
    one = named(over_runs(found))["accuracy_per_kwh_of_prediction"]
    assert (one.numerator, one.denominator, one.runs) == (pytest.approx(0.6), pytest.approx(1.0), 3)
    assert one.value == pytest.approx(0.6)
    again = named(over_runs(found[:1] * 3))["accuracy_per_kwh_of_prediction"]
    assert (again.numerator, again.value) == (pytest.approx(0.9), pytest.approx(1.8))
    assert (again.interval.low, again.interval.high) == (pytest.approx(again.value), pytest.approx(again.value))


def test_over_runs_a_kpi_is_undefined_for_what_those_lack_that_achieved_something():
    undeclared = spent(embodied=Figure(None, NO_HARDWARE))
    without = Achieved(name="prediction", units=Figure(None, "it recorded no prediction"))
    found = named(over_runs([kpis(achieved(), undeclared), kpis(without, undeclared), kpis(without, undeclared)]))
    assert found["sci_per_prediction"].reason == NO_HARDWARE
    none = named(over_runs([kpis(without, undeclared)]))
    assert none["sci_per_prediction"].reason == "it recorded no prediction"


def test_over_runs_that_all_achieved_nothing_a_kpi_is_undefined():
    nothing = kpis(achieved(units=0.0, valid=0.0, accurate=0.0, accuracy=0.0), spent(1000.0))
    for one in over_runs([nothing, nothing]):
        assert one.value is None, one.name
        assert "there was no" in one.reason


def test_what_many_runs_rest_on_is_not_told_without_end():
    runs = [kpis(achieved(), spent(intensity=Figure(float(at)), bounds=(f"gap {at}",))) for at in range(100, 130)]
    one = named(over_runs(runs))["carbon_per_prediction"]
    assert (len(one.rests_on), len(one.bounds)) == (11, 11)
    assert one.bounds[-1] == "20 more, of single runs"


def test_money_of_several_currencies_is_not_added_up():
    dollars = Declared(tariff=0.3, currency="USD")
    found = named(over_runs([kpis(achieved(), spent()), kpis(achieved(), spent(declared=dollars))]))
    assert found["cost_per_prediction"].value is None
    assert "EUR, USD" in found["cost_per_prediction"].reason
