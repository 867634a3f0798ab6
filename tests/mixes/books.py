"""In measured programs: what their meter counted, written down at their end. Loads no more than a span does."""

import atexit
import json
import multiprocessing.util
import os
import time
from pathlib import Path

from e2s_tasks.recorder import process_recorder


def keep_books() -> None:
    """In a measured process, before its first span: at its end, write down what its meter counted.

    The program's first process also writes down what it had used by then, which is no span's.
    """

    def write() -> None:
        recorder = process_recorder()
        meter = recorder.meter
        path = Path(os.environ["E2S_TEST_BOOKS"]) / f"{recorder.process.id}.json"
        path.write_text(json.dumps([meter.counted_j, meter.other_j, meter.idle_j]))

    if multiprocessing.parent_process() is None:
        atexit.register(write)  # before the recorder's own, so that it comes after it
        process_recorder()
        (Path(os.environ["E2S_TEST_BOOKS"]) / "before").write_text(str(time.process_time()))
    else:
        multiprocessing.util.Finalize(None, write, exitpriority=-1)
