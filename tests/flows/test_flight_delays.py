import pandas as pd
import pytest
import skops.io

from flows.flight_steps import (
    CANDIDATES,
    CATEGORIES,
    FEATURES,
    FLIGHT,
    LATE_AFTER_MIN,
    MODEL_TYPES,
    fit,
    join,
    probability,
    quality,
    read_months,
    size,
    source,
    take,
)

KNOWN_AFTER_DEPARTURE = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "late"}
FEW_TREES = {"max_iter": 20, "max_leaf_nodes": 15}


@pytest.fixture(scope="module")
def raw():
    return {
        name: pd.read_csv(source(name), engine="pyarrow") for name in ("flights.csv.zip", "weather.csv", "planes.csv")
    }


@pytest.fixture(scope="module")
def sample(raw):
    return take(raw["flights.csv.zip"], 0.05)


@pytest.fixture(scope="module")
def features(raw, sample):
    return join(sample, raw["weather.csv"], raw["planes.csv"])


@pytest.fixture(scope="module")
def data_set(features, tmp_path_factory):
    path = tmp_path_factory.mktemp("flows") / "features.parquet"
    features.to_parquet(path, partition_cols=["month"], index=False)
    return path


def test_the_raw_data_are_the_flights_of_the_year(raw):
    flights = raw["flights.csv.zip"]
    assert len(flights) == 336_776
    assert set(flights["year"]) == {2013}


def test_no_feature_is_known_only_after_departure(features):
    assert not KNOWN_AFTER_DEPARTURE & set(FEATURES)
    assert set(features) == {*FEATURES, *FLIGHT, "month", "late"}


def test_the_features_are_the_flights_that_arrived_each_once(sample, features):
    assert len(features) == sample["arr_delay"].notna().sum() < len(sample)
    key = [*FLIGHT, "minute"]
    assert not features.duplicated(key).any()


def test_late_means_more_than_15_minutes_after_schedule(sample, features):
    assert features["late"].sum() == (sample["arr_delay"] > LATE_AFTER_MIN).sum()


def test_the_weather_is_that_at_the_origin_in_the_scheduled_hour(raw, features):
    flight = features.dropna(subset="temp").iloc[17]
    weather = raw["weather.csv"]
    seen = weather[(weather["origin"] == flight["origin"]) & (weather["time_hour"] == flight["time_hour"])]
    assert seen["temp"].tolist() == [flight["temp"]]
    assert features["temp"].notna().mean() > 0.99


def test_a_sample_is_always_the_same(raw):
    flights = raw["flights.csv.zip"]
    assert take(flights, 0.01).equals(take(flights, 0.01))
    assert take(flights, None) is flights


@pytest.mark.parametrize("share", [0, -0.1, 1.5])
def test_a_sample_that_is_no_share_is_named(share, raw):
    with pytest.raises(ValueError, match=str(share)):
        take(raw["flights.csv.zip"], share)


def test_months_are_read_alone_and_with_their_types(data_set):
    winter = read_months(data_set, range(11, 13), [*FEATURES, "late"])
    assert set(winter["month"]) == {11, 12}
    assert list(winter) == [*FEATURES, "late", "month"]
    assert all(winter[name].dtype == "category" for name in CATEGORIES)


def test_a_model_ranks_flights_better_than_chance_and_survives_its_file(data_set, tmp_path):
    model = fit(read_months(data_set, range(7, 10), [*FEATURES, "late"]), FEW_TREES)
    winter = read_months(data_set, range(11, 13), [*FEATURES, "late"])
    late = probability(model, winter)
    forecast = winter.assign(probability_late=late, predicted_late=late > 0.5)
    assert quality(forecast)["roc_auc"] > 0.6
    skops.io.dump(model, tmp_path / "model.skops")
    assert (probability(skops.io.load(tmp_path / "model.skops", trusted=MODEL_TYPES), winter) == late).all()


def test_quality_compares_with_always_saying_the_same():
    forecast = pd.DataFrame(
        {
            "late": [False, False, False, True],
            "predicted_late": [False, False, True, True],
            "probability_late": [0.1, 0.2, 0.6, 0.9],
        }
    )
    assert quality(forecast) == {"accuracy": 0.75, "majority_accuracy": 0.75, "roc_auc": 1.0}


def test_the_candidates_differ():
    assert len({tuple(trees.items()) for trees in CANDIDATES.values()}) == len(CANDIDATES) == 2


def test_the_size_of_a_directory_is_that_of_its_files(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 1_000_000)
    (tmp_path / "b").write_bytes(b"x" * 500_000)
    assert size(tmp_path) == "1.5 MB"
    assert size(tmp_path / "a") == "1.0 MB"
