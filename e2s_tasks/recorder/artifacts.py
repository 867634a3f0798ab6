"""Artifacts that the current measured work made or used by means that nothing here sees."""

import os
from collections.abc import Callable
from contextlib import suppress
from numbers import Integral
from typing import Any

from e2s_tasks.core.records import Kind, VersionRecord
from e2s_tasks.errors import SettingError
from e2s_tasks.io.inventory import FoundFile, content_digest, entries, inventory
from e2s_tasks.io.places import NO_FILE, PathLike, Place, format_of, name_of, place_of, uri_of
from e2s_tasks.recorder.guard import warn_once
from e2s_tasks.recorder.open_span import OpenSpan
from e2s_tasks.recorder.told_of import told_of

COARSE_S = 0.02  # by so much a file system's clock may be behind
STORE_NS = 1_000_000_000  # stores tell the second in which a file was written


def record_artifact(
    uri: PathLike,
    *,
    rows: int | None = None,
    size: int | None = None,
    format: str | None = None,  # noqa: A002 - the field's own word
    filesystem: Any = None,
    storage_options: dict[str, Any] | None = None,
) -> None:
    """Record that the current measured work made, or changed, a durable thing: a new version of `uri`.

    uri: a path, a URL, or any other name that stays the same ("models:/delay/3", "postgresql://host/db/table").
    Size and files are looked up on this machine, and in a store where `filesystem` or `storage_options` are given;
    size (bytes) and format may be said instead. Of a directory, files that are older than the work (the task's attempt,
    else the flow run) were kept: the version stands on what had made them. It has no energy of its own: the work has.

    Raises:
        SettingError: an empty URI; rows or size that are no number from 0 on; a format that is no word.
    """
    _check("record_artifact", uri, rows=rows, size=size)
    if format is not None and not isinstance(format, str):
        raise SettingError(f"record_artifact(format={format!r}): give a word such as 'parquet', or leave it out.")
    span = told_of("record_artifact")
    if span is None:
        return
    place = _place(uri, filesystem, storage_options)
    files = _found("record_artifact", place)
    if place is None or files is not None:
        _made(span, uri_of(uri), place, files, size=size, rows=rows, format=format)


def outlet_versions(span: OpenSpan, uri: str) -> list[VersionRecord]:
    """The version, yet to be written down, of what an orchestrator takes for made by a span's work.

    It is known by its name alone if nothing is there.
    """
    place, files = _place(uri, None, None), None
    try:
        files = None if place is None else inventory(place)
    except Exception as error:  # noqa: BLE001 - law 5
        if not isinstance(error, FileNotFoundError):
            warn_once("looking at an outlet", error, "it is known by its name alone")
    found: list[VersionRecord] = []
    _made(span, uri_of(uri), place, files, to=found.append)
    return found


def _made(
    span: OpenSpan,
    name: str,
    place: Place | None,
    files: list[FoundFile] | None,
    *,
    size: int | None = None,
    rows: int | None = None,
    format: str | None = None,  # noqa: A002
    to: Callable[[VersionRecord], None] | None = None,
) -> None:
    """A version of what lies at a place. files: those found there, None: not known. to: takes it for the journal."""
    kept = set[FoundFile]() if place is None or files is None else _older(place, files, span.work_began_at)
    told: dict[str, Any] = {
        "size": size if size is not None or files is None else sum(file.size for file in files),
        "rows": rows,
        "format": format or (_scheme(name) if place is None else format_of(place)),
        "files": 1 if files is None else len(files),
        "content_digest": None if place is None or files is None else content_digest(place, files),
        "written": None if files is None else entries(file for file in files if file not in kept),
    }
    uri = name if place is None else place.uri
    if not kept:
        span.wrote(uri, **told, to=to)
        return
    with span.recorder.span(f"write {name_of(uri)}", Kind.WRITE) as written:
        written.read(uri, files=entries(kept))
        written.wrote(uri, **told, to=to)


def record_input(uri: PathLike, *, filesystem: Any = None, storage_options: dict[str, Any] | None = None) -> None:
    """Record that the current measured work used `uri`, named as for `record_artifact`.

    Raises:
        SettingError: an empty URI.
    """
    _check("record_input", uri)
    span = told_of("record_input")
    if span is None:
        return
    place = _place(uri, filesystem, storage_options)
    found = _found("record_input", place)
    while span.kind == Kind.WRITE and span.outer is not None:  # what a write reads of its own place it keeps
        span = span.outer
    span.read(uri_of(uri) if place is None else place.uri, files=None if found is None else entries(found))


def _check(call: str, uri: PathLike, **counts: int | None) -> None:
    if not isinstance(uri, str | os.PathLike) or not os.fspath(uri).strip() or not _can_name(str(os.fspath(uri))):
        raise SettingError(f"{call}({uri!r}): name what was made or used by a path or a URI.")
    for name, count in counts.items():
        if count is not None and (not isinstance(count, Integral) or isinstance(count, bool) or count < 0):
            raise SettingError(f"{call}({name}={count!r}): give a whole number from 0 on, or leave it out.")


def _can_name(text: str) -> bool:
    """Whether it can be a file's name: one that is not UTF-8 can."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _place(uri: PathLike, filesystem: Any, storage_options: dict[str, Any] | None) -> Place | None:
    """Where it can be looked at; None for what is no file here, and for stores that would have to be asked for."""
    if filesystem is not None or storage_options is not None:
        return place_of(uri, filesystem, storage_options)
    text = os.fspath(uri)
    return None if NO_FILE.match(text) or not uri_of(text).startswith("file:") else place_of(text)


def _found(call: str, place: Place | None) -> list[FoundFile] | None:
    """The files at a place; None, with a warning, where it cannot be looked at."""
    if place is None:
        return None
    try:
        return inventory(place)
    except Exception as error:  # noqa: BLE001 - law 5
        warn_once(call, error, "it is left out" if call == "record_artifact" else "the work goes on")
        return None


def _older(place: Place, files: list[FoundFile], since: float) -> set[FoundFile]:
    """Those of a directory's files that are older than a time (s); what is put there with an old stamp is not."""
    return {file for file in files if file.path and _changed(place, file, since) < since - COARSE_S}


def _changed(place: Place, file: FoundFile, now: float) -> float:
    """When a file last changed; `now` where that is not known."""
    if place.local:
        with suppress(OSError):
            return os.stat(f"{place.path}/{file.path}").st_ctime  # noqa: PTH116 - a Path would cost as much again
    return (file.stamp + STORE_NS) * 1e-9 if isinstance(file.stamp, int) else now


def _scheme(uri: str) -> str:
    return uri.partition(":")[0]
