"""Opt-in: pandas' and pyarrow's own Parquet calls are measured where they are made inside measured work.

`patch()`, or E2S_PATCH_IO=true. The user's calls are made as they are, with the same results and exceptions; each
outermost one has a READ or WRITE span, as those of `e2s_tasks.io` have. Nothing is imported for it: what the process
imports later is measured from then on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from e2s_tasks.importing import ImportWatch
from e2s_tasks.io.bookkeeping import bookkeeping


@dataclass(frozen=True, slots=True)
class _Patch:
    owner: Any
    name: str
    original: Any
    ours: Any


_watch = ImportWatch()
_patches: list[_Patch] = []
_on = False


def patch() -> None:
    """Measure the Parquet calls of pandas and pyarrow from now on. A second call changes nothing."""
    global _on  # noqa: PLW0603
    if _on:
        return
    _on = True
    for name, apply in (("pyarrow.parquet", _parquet), ("pyarrow.dataset", _dataset), ("pandas", _pandas)):
        _watch.when_imported(name, _in_peace(apply))


def unpatch() -> None:
    """Leave pandas and pyarrow as they were; a name that somebody else has replaced since stays as it is."""
    global _on  # noqa: PLW0603
    _on = False
    _watch.forget()
    while _patches:
        one = _patches.pop()
        if vars(one.owner).get(one.name) is one.ours:
            setattr(one.owner, one.name, one.original)


def _in_peace(apply: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    def applied(module: ModuleType) -> None:
        with bookkeeping():
            apply(module)

    return applied


def _replace(name: str, measuring: Callable[[Any], Any], *owners: Any) -> None:
    """Put the measuring function in the place of the original one wherever it is found by that name."""
    from e2s_tasks.io.patching.reads import is_function

    original = vars(owners[0]).get(name)
    if not is_function(original):  # another version of the library: it stays unmeasured
        return
    ours = measuring(original)
    for owner in owners:
        if vars(owner).get(name) is original:
            _patches.append(_Patch(owner, name, original, ours))
            setattr(owner, name, ours)


def _parquet(module: ModuleType) -> None:
    from e2s_tasks.io.patching import reads, writes

    core = getattr(module, "core", module)
    for name in ("read_table", "read_pandas"):
        _replace(name, lambda original: reads.reading(original, "source"), core, module)
    _replace("write_table", writes.table_written, core, module)
    _replace("write_to_dataset", lambda original: writes.writing(original, "root_path"), core, module)
    _replace("read", reads.dataset_read, module.ParquetDataset)
    _replace("__init__", reads.file_opened, module.ParquetFile)
    for name in ("read", "read_row_group", "read_row_groups"):
        _replace(name, reads.file_read, module.ParquetFile)
    _replace("iter_batches", reads.file_batches, module.ParquetFile)
    _replace("__init__", writes.writer_opened, module.ParquetWriter)
    _replace("write_table", writes.writer_wrote, module.ParquetWriter)
    _replace("close", writes.writer_closed, module.ParquetWriter)
    _replace("__exit__", writes.writer_left, module.ParquetWriter)


def _dataset(module: ModuleType) -> None:
    from e2s_tasks.io.patching import reads, writes

    _replace("dataset", reads.dataset_opened, module)
    _replace("write_dataset", writes.dataset_written, module)


def _pandas(module: ModuleType) -> None:
    from e2s_tasks.io.patching import reads, writes

    homes = (module.io.parquet, module)
    _replace("read_parquet", lambda original: reads.reading(original, "path"), *homes)
    _replace("to_parquet", lambda original: writes.writing(original, "path"), module.DataFrame)
