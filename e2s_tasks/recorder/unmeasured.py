"""What stands in for a span where nothing is measured."""

from collections.abc import Mapping
from typing import Any

from e2s_tasks.core.records import Kind, Status


class Unmeasured:
    """Stands in for a span where nothing is measured: takes everything, keeps nothing."""

    id = ""
    kind = Kind.SPAN

    def run(self) -> None:
        """Nothing."""

    def stop(self, status: Status) -> None:
        """Nothing."""

    def start(self) -> None:
        """Nothing."""

    def resume(self) -> None:
        """Nothing."""

    def suspend(self) -> None:
        """Nothing."""

    def worked(self) -> None:
        """Nothing."""

    def end(self, status: Status) -> None:
        """Nothing."""

    def __enter__(self) -> "Unmeasured":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def moved(self, **_: Any) -> None:
        """Nothing."""

    def wrote(self, uri: str, **_: Any) -> None:
        """Nothing."""

    def read(self, uri: str, **_: Any) -> None:
        """Nothing."""

    def note(self, attributes: Mapping[str, Any]) -> None:
        """Nothing."""
