"""Traces made for a test."""

from datetime import UTC


def write_trace(path, start, intensities, step):
    """A CSV file of a trace whose first slot begins at `start`; its path."""
    rows = [
        f"{(start + index * step).astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ},{intensity}"
        for index, intensity in enumerate(intensities)
    ]
    path.write_text("\n".join(["ts_utc,ci_g_per_kwh", *rows]))
    return path
