"""Where data lies: one name per file or data set, the file system that holds it, and what its bytes travel over."""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from e2s_tasks.errors import SettingError
from e2s_tasks.io.counting import spec_of
from e2s_tasks.io.factors import Medium

PathLike = str | os.PathLike[str]

LOCAL = ("", "file", "local")
ARCHIVES = ("zip", "tar", "libarchive")  # file systems of the files inside another one
WEB = ("http", "https", "ftp", "ftps")
IN_MEMORY = ("memory", "mock")
AZURE = ("abfs", "abfss", "wasb", "wasbs")  # container@account
NO_FILE = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+:/(?!/)")
# One name where several are in use, so that what one call wrote is what another reads.
SCHEMES = {"gcs": "gs", "s3a": "s3", "s3n": "s3"}


@dataclass(frozen=True, slots=True)
class Place:
    """A file or directory: its URI, and its path on the (pyarrow) file system that holds it."""

    uri: str
    path: str
    filesystem: Any
    medium: Medium | None

    @property
    def local(self) -> bool:
        """True for a path on this machine's own file system, which can rename."""
        return self.uri.startswith("file:")

    @property
    def name(self) -> str:
        """The last part of the path, without what a URL may hold of secrets."""
        return name_of(self.uri)


def uri_of(path: PathLike) -> str:
    """The one URI of a path or URL: absolute `file:///...`, or the URL without credentials and query.

    What has a scheme but no "//" ("models:/delay/3") stays as it is.
    """
    text = _in_short(os.fspath(path))
    if NO_FILE.match(text):
        scheme, _, rest = text.partition(":/")
        if "@" not in rest.partition("/")[0]:
            return text.rstrip("/")
        text = f"{scheme}://{rest}"  # mistyped, and with credentials
    if _scheme(text) in LOCAL:
        return _local_path(text).as_uri()
    first, *around = text.split("::")
    return "::".join([_without_secrets(first), *map(uri_of, around)])


def name_of(uri: str) -> str:
    """The last part of a URI as `uri_of` gives it."""
    last = uri.rstrip("/").rpartition("/")[2]
    return unquote(last) if uri.startswith("file:") else last


def place_of(path: PathLike, filesystem: Any = None, storage_options: dict[str, Any] | None = None) -> Place:
    """The place that `path` names: on this machine, behind a URL, or on the given pyarrow or fsspec file system.

    Raises:
        SettingError: it is no path.
        ImportError: the URL's file system needs a package that is not installed (fsspec's own message names it).
        ValueError: no file system knows the URL's scheme.
    """
    if not isinstance(path, str | os.PathLike):
        raise SettingError(
            f"a {type(path).__name__} names no place that others could read it from: pass a path or a URL."
        )
    text = _in_short(os.fspath(path))
    if "\0" in text:
        raise SettingError(f"{text!r} names no place: a path holds no null character.")
    if filesystem is not None:
        return place_on(_as_pyarrow(filesystem), text)
    if _scheme(text) in LOCAL:
        from pyarrow.fs import LocalFileSystem

        found = _local_path(text)
        return Place(found.as_uri(), found.as_posix(), LocalFileSystem(), "storage")
    remote, remote_path = _from_url(os.fspath(path), storage_options)
    return Place(uri_of(text), remote_path, remote, _medium(_scheme(text.rpartition("::")[2])))


def keeps_no_folders(place: Place) -> bool:
    """Whether the store has objects alone, so that a folder need not be made."""
    return place.uri.partition("://")[0] in ("s3", "gs")


def format_of(place: Place) -> str:
    """What kind of file the name tells: its suffix in small letters, or "file"."""
    return place.name.rpartition(".")[2].lower() if "." in place.name else "file"


def _in_short(text: str) -> str:
    """A path or URL without layers that keep a copy of it ("simplecache::"), and without a lone "file:"."""
    if "::" in text and "://" in text:
        *layers, last = text.split("::")
        text = "::".join([*(layer for layer in layers if "://" in layer), last])
    return text[len("file:") :] if text.startswith("file:") and not text.startswith("file://") else text


def _scheme(text: str) -> str:
    scheme, separator, _ = text.partition("://")
    return scheme.lower() if separator else ""


def _local_path(text: str) -> Path:
    bare = text
    if "://" in text:
        parts = urlsplit(text)
        host = "" if parts.netloc == "localhost" else parts.netloc
        bare = unquote(host + parts.path)  # "file://a.parquet" is one in the working directory, as pandas has it
    path = Path(bare)
    with suppress(RuntimeError):  # "~x" is a name like others where nobody is called x
        path = path.expanduser()
    try:
        return path.resolve()
    except (RuntimeError, OSError):  # a link that leads to itself: nothing is there
        return path.absolute()


def _without_secrets(part: str) -> str:
    if "://" not in part:
        return part
    scheme, _, rest = part.partition("://")
    scheme = scheme.lower()
    start, _, options = rest.partition("?")
    if scheme in WEB or "=" in options:  # of a URL, or of a file system; else it is a part of an object's key
        rest = start
    if scheme in WEB:
        rest = rest.partition("#")[0]
    host, separator, path = rest.partition("/")
    user, _, host = host.rpartition("@")
    if user and scheme in AZURE:
        host = f"{user.partition(':')[0]}@{host}"
    path = (host + separator + path).rstrip("/")
    return f"{SCHEMES.get(scheme, scheme)}://{path.lstrip('/') if scheme in IN_MEMORY else path}"


def _from_url(url: str, storage_options: dict[str, Any] | None) -> tuple[Any, str]:
    """The file system behind a URL: pyarrow's own where it has one, else fsspec's, as pandas chooses."""
    import pyarrow as pa
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    if storage_options is None:
        try:
            filesystem, path = FileSystem.from_uri(url)
        except (TypeError, pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
        else:
            return filesystem, path
    from fsspec.core import url_to_fs

    spec, path = url_to_fs(url, **(storage_options or {}))
    return PyFileSystem(FSSpecHandler(spec)), path


def _as_pyarrow(filesystem: Any) -> Any:
    from pyarrow.fs import FileSystem, FSSpecHandler, LocalFileSystem, PyFileSystem

    if isinstance(filesystem, FileSystem):
        return filesystem
    if not hasattr(filesystem, "protocol"):
        raise SettingError(f"filesystem={filesystem!r} is no file system: pass one of pyarrow's or of fsspec's.")
    if "file" in protocols(filesystem):
        return LocalFileSystem()
    return PyFileSystem(FSSpecHandler(filesystem))


def place_on(filesystem: Any, path: str) -> Place:
    """The place of `path` on a pyarrow file system."""
    from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

    if isinstance(filesystem, LocalFileSystem):
        found = _local_path(path)
        return Place(found.as_uri(), found.as_posix(), filesystem, "storage")
    if isinstance(filesystem, SubTreeFileSystem):
        return place_on(filesystem.base_fs, filesystem.base_path.rstrip("/") + "/" + path.lstrip("/"))
    spec = spec_of(filesystem)
    if spec is not None and "dir" in protocols(spec):
        return place_on(_as_pyarrow(spec.fs), spec.path.rstrip("/") + "/" + path.lstrip("/"))
    bare = path.partition("://")[2] or path
    scheme = _scheme(path) or _scheme_of(filesystem)
    if spec is not None and scheme in ARCHIVES and isinstance(spec.storage_options.get("fo"), str):
        return Place(f"{scheme}://{bare.strip('/')}::{uri_of(spec.storage_options['fo'])}", bare, filesystem, "storage")
    return Place(uri_of(f"{scheme}://{bare}"), bare, filesystem, _medium(scheme))


def _scheme_of(filesystem: Any) -> str:
    spec = spec_of(filesystem)
    return protocols(spec)[0] if spec else str(filesystem.type_name).rpartition(":")[2]


def protocols(spec: Any) -> tuple[str, ...]:
    """The schemes that an fsspec file system answers to."""
    protocol = spec.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _medium(scheme: str) -> Medium | None:
    return None if scheme in IN_MEMORY else "storage" if scheme in LOCAL else "network"
