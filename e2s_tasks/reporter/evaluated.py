"""What an outcome was evaluated on: the data that the step read which recorded it, but for what it judged by them.

What is judged: a registered model, what was written in another stage called training or inference, and what came of all
that something else which it read came of, and of more (a model of its training data, or of what these and the test data
were split from). Of a step that read nothing else, the same of the steps that wrote what it judged.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property

from e2s_tasks.core.lineage import RunGraph
from e2s_tasks.core.records import OutcomeRecord, ReadRecord, RunRecords, SpanRecord, VersionRecord
from e2s_tasks.reporter.tree import SpanTree, adopted, outermost

JUDGED = {"training", "inference"}  # stages whose products are judged
MODELS = "models:/"
MOST_DATA = 5  # that a caveat names


class Evaluations:
    """The evaluation data of a run's outcomes."""

    def __init__(self, run: RunRecords, spans: SpanTree) -> None:
        self._run, self._spans = run, spans
        self._versions = {one.id: one for one in run.versions}
        self._reads: dict[str, list[ReadRecord]] = defaultdict(list)
        for read in run.reads:
            if read.span_id in spans.by_id:
                self._reads[self._step(read.span_id).id].append(read)

    def data_of(self, outcomes: Iterable[OutcomeRecord]) -> tuple[str, ...]:
        """Each data set in words, with what tells its content: a digest, else its rows and bytes."""
        steps = {step.id: step for step in (self._step(one.span_id) for one in outcomes)}
        reads = [read for step in steps.values() for read in self._before(step)]
        names = sorted({self._said(read) for read in reads})
        more = len(names) - MOST_DATA
        return tuple(names if more <= 0 else [*names[:MOST_DATA], f"{more} more"])

    def _before(self, step: SpanRecord) -> list[ReadRecord]:
        """The data that a step read, else those behind what it judged; where stages hide all, without them."""
        for by_stage in (True, False):
            steps, seen = [step], {step.id}
            while steps:
                judged = {id_ for one in steps for id_ in self._judged(one, by_stage=by_stage)}
                reads = [read for one in steps for read in self._reads[one.id] if read.version_id not in judged]
                if reads:
                    return reads
                writers = {one.id: one for one in self._writers(judged) if one.id not in seen}
                steps, seen = list(writers.values()), seen | writers.keys()
        return []

    def _judged(self, step: SpanRecord, *, by_stage: bool) -> Iterator[str]:
        """The versions that a step read in order to judge them."""
        reads = [read for read in self._reads[step.id] if read.version_id is not None]
        behind = {str(read.version_id): self._behind(str(read.version_id)) for read in reads} if len(reads) > 1 else {}
        for read in reads:
            version_id = str(read.version_id)
            stage, own = self._written_in(version_id), behind.get(version_id, 0)
            derived = any(one and one != own and one & own == one for one in behind.values())
            told = by_stage and stage in JUDGED and stage != step.stage
            if told or derived or read.uri.startswith(MODELS):
                yield version_id

    def _behind(self, version_id: str) -> int:
        """What leads to a version of this run, see Reach; 0 for one of another run."""
        return self._graph.to_version(version_id)

    @cached_property
    def _graph(self) -> RunGraph:
        return RunGraph(adopted(self._run, self._spans))

    def _written_in(self, version_id: str) -> str | None:
        """The stage in which a version was written."""
        if version_id in self._run.seen:
            return self._run.seen[version_id].stage
        version = self._versions.get(version_id)
        span = self._spans.by_id.get(version.span_id) if version is not None else None
        return None if span is None else span.stage

    def _writers(self, version_ids: Iterable[str]) -> Iterator[SpanRecord]:
        """The steps of this run that wrote the versions."""
        for version_id in version_ids:
            version = self._versions.get(version_id)
            if version is not None and version.span_id in self._spans.by_id:
                yield self._step(version.span_id)

    def _step(self, span_id: str) -> SpanRecord:
        return outermost(self._spans.by_id[span_id], self._spans)

    def _said(self, read: ReadRecord) -> str:
        name = read.uri.rstrip("/").rpartition("/")[2]
        if read.version_id is None:
            return f"{name} of no known version" + _size(None, _bytes(read))
        number = self._run.version_numbers.get(read.version_id)
        which = name if number is None else f"{name} v{number}"
        seen = self._run.seen.get(read.version_id)
        version = seen.version if seen is not None else self._versions.get(read.version_id)
        told = _content(version)
        return which + (told or ("" if number else f" (version {read.version_id[:8]})"))


def _content(version: VersionRecord | None) -> str:
    """What is known of a version's content, so that what is written again counts as the same."""
    if version is None:
        return ""
    return f" ({version.content_digest})" if version.content_digest else _size(version.rows, version.bytes)


def _size(rows: int | None, size: int | None) -> str:
    told = [f"{count:,} {unit}" for count, unit in ((rows, "rows"), (size, "bytes")) if count is not None]
    return f" ({', '.join([*told, 'no digest'])})" if told else ""


def _bytes(read: ReadRecord) -> int | None:
    """The size of the files that a read opened; None where not known."""
    sizes = [size for _, size, *_ in read.files or ()]
    return None if not sizes or None in sizes else sum(sizes)
