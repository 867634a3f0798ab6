"""A span may be asked for at any moment: while the first one is set up, and as the process ends."""

import subprocess
import sys
import textwrap

import pytest


def run(program, folder, *arguments):
    """What became of a program: its output, errors and exit code."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        env={"E2S_DATA_DIR": str(folder)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_signal_handlers_span_amid_the_setting_up_holds_nothing_up(tmp_path):
    program = """
        import signal, sys, time
        from e2s_tasks import span
        seen = []
        def handler(*_):
            with span("handler"):
                seen.append(1)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, float(sys.argv[1]))
        with span("work"):
            while not seen:
                time.sleep(0.001)
        print("fine")
    """
    for turn in range(20):
        done = run(program, tmp_path / str(turn), str(0.001 + 0.003 * turn))
        assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr


def test_a_span_inside_the_setting_up_is_not_measured_and_the_next_one_is(monkeypatch, tmp_path):
    import e2s_tasks.recorder.recorder as module
    from e2s_tasks.settings import settings

    inside = []

    def interrupted():
        with module.process_recorder().span("inside") as one:
            inside.append(one)
        return settings()

    monkeypatch.setattr(module, "_recorder", None)
    monkeypatch.setattr(module, "settings", interrupted)
    with module.process_recorder().span("work") as work:
        pass
    assert inside[0].id == ""
    assert work.id
    module.process_recorder().close()


@pytest.mark.parametrize("after_s", [0, 1.3])
def test_a_finalizers_span_as_the_process_ends_holds_nothing_up(tmp_path, after_s):
    program = f"""
        import time
        from e2s_tasks import span
        class Client:
            def __init__(self):
                self.me = self
            def __del__(self):
                with span("goodbye"):
                    pass
        with span("work"):
            pass
        client = Client()
        time.sleep({after_s})
        print("the end")
    """
    done = run(program, tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("the end\n", "", 0)
