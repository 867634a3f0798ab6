"""KPIs: energy, carbon and money per unit of what was achieved. Pure functions; docs/kpis.md has each formula.

Every KPI is a ratio. What it needs and nobody knows makes it undefined, with the reason; it is never 0 for that. Over
several runs it is the ratio of the sums, with an interval. E: joules; a kWh has 3.6e6.
"""

import math
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from e2s_tasks.core.declared import Declared
from e2s_tasks.core.energy import JOULES_PER_KWH, JOULES_PER_WH
from e2s_tasks.core.plurals import plural
from e2s_tasks.core.ratios import Interval, Method, ratio_interval

GRAMS = "gCO2eq"
MOST_SAID = 10
NO_OUTCOME = "no outcome was recorded: call record_outcome(units=...), or give the task units= or outcome="
NO_ENERGY = "the energy is missing"
NO_INTENSITY = "no carbon intensity is known"
NO_HARDWARE = "embodied hardware is not declared: set E2S_EMBODIED_KG and E2S_LIFETIME_YEARS"
NO_PUE = "the computers' energy alone, for the overhead of the facility is not declared: set E2S_PUE"
WITHOUT_HARDWARE = f"operational carbon alone, for {NO_HARDWARE}"
NO_TARIFF = "no tariff is declared: set E2S_TARIFF, for example to '0.25 EUR'"
NO_REFERENCE = "no reference is declared: set E2S_REFERENCE_ACCURACY and E2S_REFERENCE_J"
NO_ACCURACY = "no accuracy is known: record accurate= or quality={'accuracy': ...}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, or why there is none."""

    value: float | None
    missing: str | None = None

    def times(self, factor: float) -> "Figure":
        """The figure times a factor."""
        return self if self.value is None else Figure(self.value * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Achieved:
    """What was achieved under one name, in the singular ("prediction"). None in place of a figure: never spoken of.

    accuracy: from 0 to 1. evaluated_on: the evaluation data, with digest.
    """

    name: str
    units: Figure
    valid: Figure | None = None
    accurate: Figure | None = None
    accuracy: Figure | None = None
    evaluated_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What it took: E in joules (of a run, or of a product, in-run or fully loaded), and what else KPIs are made from.

    intensity: gCO2eq/kWh, by intensity_source. embodied: M in gCO2eq. bounds: why the energy is a lower bound.
    rests_on: what the energy is made of.
    """

    energy: Figure
    intensity: Figure = Figure(None, NO_INTENSITY)
    intensity_source: str = ""
    embodied: Figure = Figure(None, NO_HARDWARE)
    declared: Declared = field(default_factory=Declared)
    bounds: tuple[str, ...] = ()
    rests_on: tuple[str, ...] = ()

    @property
    def facility(self) -> Figure:
        """Joules with the facility's overhead: E x PUE; E itself where no PUE is declared."""
        return self.energy.times(self.declared.pue or 1.0)

    @property
    def operational(self) -> Figure:
        """gCO2eq of the energy: kWh of the facility x intensity."""
        return _both(self.facility.times(1 / JOULES_PER_KWH), self.intensity, operator.mul)

    @property
    def cost(self) -> Figure:
        """Money for the energy of the facility, in the tariff's currency."""
        price = Figure(self.declared.tariff, None if self.declared.tariff is not None else NO_TARIFF)
        return _both(self.facility.times(1 / JOULES_PER_KWH), price, operator.mul)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kpi:
    """One KPI: value (in `unit`) = numerator / denominator, or None and the `reason` why it is undefined.

    per: the unit of the outcome. inverse: energy stands below the line. lower_bound, upper_bound: whether the true
    value is at least, or at most, that; bounds: why. rests_on: measurements, models and declared inputs. caveat: what
    must be known to compare it. interval: over several runs. left_out: runs that the ratio is without, and why.
    weight: the units that a numerator which does not add up over runs (an accuracy) is a share of; None: it adds up.
    """

    name: str
    label: str
    unit: str
    per: str
    inverse: bool = False
    value: float | None = None
    numerator: float | None = None
    numerator_unit: str
    denominator: float | None = None
    denominator_unit: str
    reason: str | None = None
    lower_bound: bool = False
    upper_bound: bool = False
    bounds: tuple[str, ...] = ()
    rests_on: tuple[str, ...] = ()
    caveat: str | None = None
    interval: Interval | None = None
    runs: int = 1
    left_out: tuple[str, ...] = ()
    weight: float | None = None

    @property
    def gained(self) -> float | None:
        """What was achieved: the side of the ratio that is no energy, carbon or money."""
        return self.numerator if self.inverse else self.denominator

    @property
    def spent(self) -> float | None:
        """What it took: the other side."""
        return self.denominator if self.inverse else self.numerator

    def to_dict(self) -> dict[str, Any]:
        """The KPI as plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def kpis(achieved: Achieved, spent: Spent) -> list[Kpi]:
    """All KPIs of what was achieved under one name; those of counts that were never recorded are left out."""
    return [*_energy_per_unit(achieved, spent), *_carbon_and_money(achieved, spent), *_efficiency(achieved, spent)]


def undefined(spent: Spent, why: str = NO_OUTCOME) -> Kpi:
    """What there is to say of a run without any outcome: joules per unit, undefined. why: there is none."""
    return next(iter(_energy_per_unit(Achieved(name="unit", units=Figure(None, why)), spent)))


def _energy_per_unit(achieved: Achieved, spent: Spent) -> Iterator[Kpi]:
    name, energy = achieved.name, spent.energy
    kwh, watt_hours = energy.times(1 / JOULES_PER_KWH), energy.times(1 / JOULES_PER_WH)
    counts = [(name, achieved.units), (f"valid {name}", achieved.valid), (f"accurate {name}", achieved.accurate)]
    for per, count in counts:
        if count is not None:
            yield _per_unit(f"joules per {per}", energy, "J", per=per, count=count, spent=spent)
    yield _per_unit(f"Wh per {name}", watt_hours, "Wh", per=name, count=achieved.units, spent=spent)
    for per, count in counts[:2]:
        if count is not None:
            yield _per_unit(f"kWh per {per}", kwh, "kWh", per=per, count=count, spent=spent)
    performance = _per_energy(f"{name} per joule", achieved.units, name, used=energy, unit="J", per=name, spent=spent)
    yield replace(performance, label=f"performance per watt: {plural(name)} per joule")
    if achieved.accurate is not None:
        what = f"accurate {name}"
        correct = _per_energy(f"{what} per kWh", achieved.accurate, what, used=kwh, unit="kWh", per=name, spent=spent)
        yield replace(correct, label=f"accurate {plural(name)} per kWh")


def _carbon_and_money(achieved: Achieved, spent: Spent) -> Iterator[Kpi]:
    name, units, embodied = achieved.name, achieved.units, spent.embodied
    overhead = _resting(spent, pue=True, carbon=True)
    whole = _both(spent.operational, embodied, operator.add)
    if embodied.value is not None:
        yield _per_unit(f"carbon per {name}", whole, GRAMS, per=name, count=units, spent=overhead)
    else:
        without = _without_hardware(overhead, embodied.missing or NO_HARDWARE)
        yield _per_unit(f"carbon per {name}", spent.operational, GRAMS, per=name, count=units, spent=without)
    sci = _per_unit(f"SCI per {name}", whole, GRAMS, per=name, count=units, spent=overhead)
    yield replace(sci, label=f"SCI (ISO/IEC 21031) per {name}")
    currency, spent = spent.declared.currency or "currency", _resting(spent, pue=True, money=True)
    cost = _per_unit(f"cost per {name}", spent.cost, currency, per=name, count=units, spent=spent)
    yield replace(cost, label=f"energy cost per {name}")


def _without_hardware(spent: Spent, missing: str) -> Spent:
    """The same for carbon without M: operational carbon, or a lower bound where a part of M was declared."""
    if missing == NO_HARDWARE:
        return replace(spent, rests_on=(*spent.rests_on, WITHOUT_HARDWARE))
    return replace(spent, bounds=(*spent.bounds, missing))


def _resting(spent: Spent, *, pue: bool = False, carbon: bool = False, money: bool = False) -> Spent:
    """The same, naming what is declared or looked up beside the energy."""
    declared, said = spent.declared, list(spent.rests_on)
    if pue and declared.pue is not None:
        said.append(f"PUE {declared.pue:g} (declared)")
    elif carbon:
        said.append(NO_PUE)
    if carbon and spent.intensity.value is not None:
        said.append(f"{spent.intensity.value:.4g} gCO2eq/kWh ({spent.intensity_source or 'unknown source'})")
    if carbon and spent.embodied.value is not None:
        share = "the whole host" if declared.reserved_share is None else f"{declared.reserved_share:g} of the host"
        made = (
            f"{declared.embodied_kg:g} kgCO2e over {declared.lifetime_years:g} years" if declared.embodied_kg else "0 g"
        )
        said.append(f"embodied hardware: {made}, {share} (declared)")
    if money and declared.tariff is not None:
        said.append(f"{declared.tariff:g} {declared.currency} per kWh (declared)")
    return replace(spent, rests_on=tuple(said))


def _efficiency(achieved: Achieved, spent: Spent) -> Iterator[Kpi]:
    """Accuracy per kWh, accuracy per e with e = E / units, and that against a reference's."""
    if achieved.accuracy is None:
        return
    name, declared, energy = achieved.name, spent.declared, spent.energy
    kwh = energy.times(1 / JOULES_PER_KWH)
    label = f"accuracy per kWh of {name}"
    per_kwh = _per_energy(label, achieved.accuracy, "accuracy", used=kwh, unit="kWh", per=name, spent=spent)
    if achieved.units.value != 0:  # a run that evaluated nothing has no evaluation data to warn of
        per_kwh = replace(per_kwh, caveat=_caveat(achieved))
    yield replace(per_kwh, weight=achieved.units.value)
    weighed = _both(achieved.accuracy, achieved.units, operator.mul)
    what = f"accuracy x {plural(name)}"
    label = f"accuracy per joule per {name}"
    per_unit = _per_energy(label, weighed, what, used=energy, unit="J", per=name, spent=spent)
    yield replace(per_unit, label=f"model efficiency: accuracy per (joules per {name})")
    against = Figure(None, NO_REFERENCE)
    if declared.reference_accuracy is not None and declared.reference_j is not None:
        against, energy = weighed.times(1 / declared.reference_accuracy), energy.times(1 / declared.reference_j)
        said = f"reference of accuracy {declared.reference_accuracy:g} at {declared.reference_j:g} J (declared)"
        spent = replace(spent, rests_on=(*spent.rests_on, said))
    many = plural(name)
    what, unit = f"{many} at the reference's accuracy", f"{many} at the reference's energy"
    label = f"efficiency ratio of {name}"
    ratio = _per_energy(label, against, what, used=energy, unit=unit, per=name, spent=spent)
    yield replace(ratio, unit="", label=f"model efficiency ratio against the reference, {name}")


def _caveat(achieved: Achieved) -> str:
    size = "an unknown number of" if achieved.units.value is None else f"{achieved.units.value:,.12g}"
    many = plural(achieved.name)
    data = ", ".join(achieved.evaluated_on) or "evaluation data that nobody knows (neither version nor digest)"
    return (
        f"over {size} {many}, {data}: it halves when the evaluation data doubles, so compare it over the "
        f"same data only; accurate {many} per kWh does not halve"
    )


def _per_unit(label: str, spending: Figure, unit: str, *, per: str, count: Figure, spent: Spent) -> Kpi:
    """Something spent per unit: a lower bound where the energy is one."""
    value, reason = _ratio(spending, count, f"there was no {per}")
    return Kpi(
        name=_slug(label), label=label, unit=unit, per=per, value=value, reason=reason,
        numerator=spending.value, numerator_unit=unit, denominator=count.value, denominator_unit=per,
        lower_bound=bool(spent.bounds), bounds=spent.bounds, rests_on=spent.rests_on,
    )  # fmt: skip


def _per_energy(label: str, gained: Figure, what: str, *, used: Figure, unit: str, per: str, spent: Spent) -> Kpi:
    """Something achieved per energy: an upper bound where the energy is a lower one."""
    value, reason = _ratio(gained, used, "no energy was used")
    if gained.value == 0 and used.value is not None:
        value, reason = None, f"there was no {what}"
    return Kpi(
        name=_slug(label), label=label, unit=f"1/{unit}", per=per, inverse=True, value=value, reason=reason,
        numerator=gained.value, numerator_unit=what, denominator=used.value, denominator_unit=unit,
        upper_bound=bool(spent.bounds), bounds=spent.bounds, rests_on=spent.rests_on,
    )  # fmt: skip


def _slug(label: str) -> str:
    return "_".join(label.lower().split())


def _ratio(numerator: Figure, denominator: Figure, nothing: str) -> tuple[float | None, str | None]:
    if denominator.value is None:
        return None, denominator.missing
    if numerator.value is None:
        return None, numerator.missing
    if denominator.value == 0:
        return None, nothing
    value = numerator.value / denominator.value
    return (value, None) if math.isfinite(value) else (None, f"{denominator.value:g} is too little to divide by")


def _both(one: Figure, other: Figure, combined: Callable[[float, float], float]) -> Figure:
    """The two combined; the first that is missing otherwise."""
    if one.value is None:
        return one
    return other if other.value is None else Figure(combined(one.value, other.value))


def over_runs(runs: Sequence[Sequence[Kpi]], level: float = 0.95, method: Method = "fieller") -> list[Kpi]:
    """The KPIs of several runs: of each name the ratio of the sums, with its interval.

    A run that lacks a figure is left out of both sums, and said so; the ratio is a bound where it achieved 0, as a
    failed run does without an outcome. An accuracy is a mean by units, and the energy beside it that of a run.
    """
    by_name: dict[str, list[Kpi]] = {}
    for of_run in runs:
        for kpi in of_run:
            by_name.setdefault(kpi.name, []).append(kpi)
    return [_over_runs(alike, level, method) for alike in by_name.values()]


def _over_runs(alike: list[Kpi], level: float, method: Method) -> Kpi:
    known = [one for one in alike if one.gained is not None and one.spent is not None]
    gone = [one for one in alike if one.gained is None or one.spent is None]
    first = known[0] if known else alike[0]
    bounds = _each_once([*(one.bounds for one in known), _without_figure(gone), _in_some_alone(known)])
    result = replace(
        first, value=None, numerator=None, denominator=None, weight=None, runs=len(known), bounds=bounds,
        lower_bound=bool(bounds) and not first.inverse, upper_bound=bool(bounds) and first.inverse,
        left_out=_told(gone), rests_on=_each_once(one.rests_on for one in known), caveat=_caveats(known),
    )  # fmt: skip
    if not known:
        return replace(result, reason=_why_undefined(gone))
    if len({one.unit for one in known}) > 1:
        units = ", ".join(sorted({one.unit for one in known}))
        return replace(result, reason=f"the runs have several units: {units}")
    pairs, achieving = _pairs(known)
    gained, used = (math.fsum(column) / achieving for column in zip(*pairs, strict=True))
    result = replace(result, numerator=gained, denominator=used, reason=None)
    if used == 0 or (first.inverse and gained == 0):
        what = first.numerator_unit if first.inverse and used else first.denominator_unit
        return replace(result, reason=f"there was no {what} in {_runs(len(known))}")
    value, reason = _ratio(Figure(gained), Figure(used), "")
    if value is None:
        return replace(result, reason=reason)
    return replace(result, value=value, interval=_not_negative(ratio_interval(pairs, level, method)))


def _pairs(known: Sequence[Kpi]) -> tuple[list[tuple[float, float]], int]:
    """Both sides of each run, and by what their sums are to be divided: the runs that achieved something, for means.

    A share counts by the units that it is of, so that the sum over these runs is as many times their common share.
    """
    weights = [one.weight for one in known if one.weight]
    if not weights:
        return [(one.numerator or 0.0, one.denominator or 0.0) for one in known], 1
    mean = math.fsum(weights) / len(weights)
    shares = [((one.numerator or 0.0) * (one.weight or 0.0) / mean, one.denominator or 0.0) for one in known]
    return shares, len(weights)


def _without_figure(gone: Iterable[Kpi]) -> tuple[str, ...]:
    """Why a ratio without these runs is a bound: those that achieved nothing have spent more, but not less, than 0."""
    fruitless = Counter(one.reason for one in gone if one.gained == 0)
    return tuple(f"without {_runs(count)} that achieved nothing: {why}" for why, count in fruitless.most_common())


def _in_some_alone(known: Sequence[Kpi]) -> tuple[str, ...]:
    """What the figures of some runs are without, and those of others are not: the sum is without a part of it."""
    counts = {what: sum(what in one.rests_on for one in known) for what in (NO_PUE, WITHOUT_HARDWARE)}
    return tuple(f"of {_runs(count)} {what}" for what, count in counts.items() if 0 < count < len(known))


def _told(gone: Iterable[Kpi]) -> tuple[str, ...]:
    """How many runs are left out for which reason."""
    return tuple(f"{_runs(count)}: {reason}" for reason, count in Counter(one.reason for one in gone).most_common())


def _why_undefined(gone: Sequence[Kpi]) -> str | None:
    """Why no run has the KPI: what those lack that achieved something, else what most of them lack."""
    achieving = [one for one in gone if one.gained] or [one for one in gone if one.gained is not None]
    return Counter(one.reason for one in achieving or gone).most_common(1)[0][0]


def _runs(count: int) -> str:
    return f"{count} run{'s' if count > 1 else ''}"


def _not_negative(interval: Interval) -> Interval:
    """What is spent and achieved is never below 0, so nor is the ratio."""
    return interval if interval.low is None else replace(interval, low=max(interval.low, 0.0))


def _each_once(groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """What several runs say, each once, and not more of it than a person reads."""
    said = tuple(dict.fromkeys(one for group in groups for one in group))
    more = len(said) - MOST_SAID
    return said if more <= 0 else (*said[:MOST_SAID], f"{more} more, of single runs")


def _caveats(known: list[Kpi]) -> str | None:
    said = list(dict.fromkeys(one.caveat for one in known if one.caveat))
    if len(said) <= 1:
        return said[0] if said else None
    return f"the runs had {len(said)} different sets of evaluation data, so that this mean says little: {said[0]}"
