"""Any other transfer: bytes that moved by means that this library does not see."""

import weakref
from dataclasses import dataclass
from operator import index
from types import TracebackType
from typing import Any, get_args

from e2s_tasks.core.records import Kind
from e2s_tasks.core.spans import SteppedSpan, recorder, status_of
from e2s_tasks.errors import SettingError
from e2s_tasks.io.bookkeeping import bookkeeping, in_one_step
from e2s_tasks.io.factors import Medium, movement
from e2s_tasks.io.places import PathLike, uri_of

MOST = 2**63 - 1  # that a ledger holds


@dataclass(slots=True)
class _Transfer:
    over: Medium | None
    source: str | None
    target: str | None
    bytes: int | None
    rows: int | None

    def note(self, span: SteppedSpan) -> None:
        size = None if self.bytes is None else _count("bytes", self.bytes)
        rows = None if self.rows is None else _count("rows", self.rows)
        if size is not None:
            energy = movement(self.over, size)
            arrived = self.source is not None and self.target is None
            left = self.source is None or self.target is not None
            span.moved(
                bytes_read=size if arrived or self.source else 0,
                bytes_written=size if left else 0,
                rows=rows,
                storage_j=energy.storage,
                network_j=energy.network,
            )
        if self.source is not None:
            span.read(self.source)
        if self.target is not None:
            span.wrote(self.target, size=size, rows=rows, format=_format(self.target))


def moved(
    what: str,
    bytes: int | None = None,  # noqa: A002 - the field's own word
    *,
    over: Medium | None = "network",
    source: PathLike | None = None,
    target: PathLike | None = None,
    rows: int | None = None,
) -> "Movement":
    """Record a transfer that nothing else here measures, in one call once it is over::

        moved("shipment to partner", bytes=1_200_000)

    or around it, so that its time and host energy are its own; its size may be said inside::

        with moved("shipment to partner", target="sftp://partner/in/march.csv") as shipment:
            shipment.bytes = send()

    over: what the bytes travel over, "network" or "storage", for which their modelled energy is added; None adds none.
    source and target: URIs; a source was read, and a target has a new version. The bytes count once, as written (with a
    source alone: as read; with both: as read and as written, and their energy once). Bytes that are never said leave a
    gap. A block that fails makes no version, and counts only bytes that were said inside it.
    A plain call is recorded when its result is dropped, for a call without a variable at once.

    Raises:
        SettingError: no name; bytes or rows that are no number from 0 on; another medium.
    """
    if not isinstance(what, str) or not what.strip():
        raise SettingError(f"moved({what!r}): say what moved, for example 'shipment to partner'.")
    if over is not None and over not in get_args(Medium):
        raise SettingError(f"moved(over={over!r}) cannot be used: give 'network', 'storage' or None.")
    for name, count in (("bytes", bytes), ("rows", rows)):
        if count is not None:
            _count(name, count)
    ends = [None if uri is None else uri_of(uri) for uri in (source, target)]
    return Movement(str(what), _Transfer(over, ends[0], ends[1], bytes, rows))


def _count(name: str, count: Any) -> int:
    try:
        number = -1 if isinstance(count, bool) else index(count)
    except TypeError:
        number = -1
    if not 0 <= number <= MOST:
        raise SettingError(f"moved({name}={count!r}) cannot be used: give a whole number from 0 to 2^63 - 1.")
    return number


def _format(uri: str) -> str:
    name = uri.rpartition("/")[2]
    return name.rpartition(".")[2].lower() if "." in name else "file"


class Movement:
    """A transfer that is recorded by `moved`: what it moved may be said until it is over."""

    def __init__(self, what: str, transfer: _Transfer) -> None:
        self._transfer = transfer
        self._span = recorder().span(f"move {what}", Kind.MOVE)
        self._said_before = transfer.bytes
        self._plain = weakref.finalize(self, _record_at_once, self._span, transfer)

    @property
    def bytes(self) -> int | None:
        """The bytes that moved; None: not known."""
        return self._transfer.bytes

    @bytes.setter  # noqa: A003 - the property above
    def bytes(self, size: int) -> None:
        self._transfer.bytes = _count("bytes", size)

    @property
    def rows(self) -> int | None:
        """The rows that moved; None: not known."""
        return self._transfer.rows

    @rows.setter
    def rows(self, count: int) -> None:
        self._transfer.rows = _count("rows", count)

    def __enter__(self) -> "Movement":
        if self._plain.detach() is None:
            raise SettingError("This transfer is over: call moved(...) again for another one.")
        self._span.start()
        self._span.resume()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            said = self._transfer.bytes if self._transfer.bytes != self._said_before else None
            self._transfer = _Transfer(self._transfer.over, None, None, said, None)
        with bookkeeping():
            self._transfer.note(self._span)
        self._span.suspend()
        self._span.end(status_of(error))


def _record_at_once(span: SteppedSpan, transfer: _Transfer) -> None:
    with bookkeeping(), in_one_step(span):
        transfer.note(span)
