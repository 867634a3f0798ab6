"""Do something to a module when it has been imported: at once if it has, else at the end of its import.

The classes here have no base of `importlib.abc`, which takes 4 ms to load.
"""

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec

Then = Callable[[ModuleType], None]


class ImportWatch:
    """Calls back at the end of the first import of each module that is waited for. Imports nothing itself."""

    def __init__(self) -> None:
        self._waiting: dict[str, Then] = {}
        self._finding: set[str] = set()  # another watch asks this one in turn

    def when_imported(self, name: str, then: Then) -> None:
        """Call `then` with the module, now or later. It must not raise."""
        module = sys.modules.get(name)
        if module is not None and not getattr(module.__spec__, "_initializing", False):
            then(module)
            return
        self._waiting[name] = then
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def forget(self) -> None:
        """Wait for nothing any more."""
        self._waiting.clear()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def imported(self, module: ModuleType) -> None:
        """A module that was waited for is there."""
        then = self._waiting.pop(module.__name__, None)
        if then is not None:
            then(module)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> "ModuleSpec | None":
        """Python's hook: the spec that the others find, with a loader that calls back."""
        if fullname not in self._waiting or fullname in self._finding:
            return None
        self._finding.add(fullname)
        try:
            found = (finder.find_spec(fullname, path, target) for finder in sys.meta_path)
            spec = next((one for one in found if one is not None), None)
        finally:
            self._finding.discard(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]
        return spec


class _Loader:
    """A module's own loader, which it has back once it is there."""

    def __init__(self, own: "Loader", watch: ImportWatch) -> None:
        self._own, self._watch = own, watch

    def create_module(self, spec: "ModuleSpec") -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._own
        if module.__spec__ is not None:
            module.__spec__.loader = self._own
        self._own.exec_module(module)
        self._watch.imported(module)
