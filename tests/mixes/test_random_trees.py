"""Trees of processes as chance draws them, measured in parts, killed or left early: no CPU second is counted twice."""

import json
import random

import pytest

from tests.mixes.scene import check_laws

NODE = """
import json, os, subprocess, sys
from multiprocessing import get_context
from e2s_tasks import record_outcome, span
from tests.mixes.burning import burn, burning

def run(node):
    for act in node["acts"]:
        do(*act)
    if node["end"] == "exit":
        os._exit(0)
    if node["end"] == "kill":
        os.kill(os.getpid(), 9)

def do(kind, *given):
    if kind == "burn":
        burn(*given)
    elif kind == "outcome":
        record_outcome(1, name="row")
    elif kind == "span":
        with span("inner"):
            for act in given[0]:
                do(*act)
    elif kind == "bare":
        subprocess.run(burning(*given))
    elif kind in ("fork", "spawn"):
        worker = get_context(kind).Process(target=run, args=given)
        worker.start()
        worker.join()
    else:
        call = [sys.executable, "node.py"]
        if kind == "sh":
            call = ["/bin/sh", "-c", f"{sys.executable} node.py \\"$0\\"; true"]
        for child in [subprocess.Popen([*call, json.dumps(node)]) for node in given]:
            child.wait()

if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
"""
MAIN = """
from tests.mixes.books import keep_books
keep_books()
import node
if __name__ == "__main__":
    node.run({})
"""


def drawn(draw, depth):
    """What a process or a span does, one after the other."""
    acts = []
    for _ in range(draw.randint(1, 4)):
        kind = draw.choice(["burn", "burn", "outcome", "span", "span", "bare", "child", "child"])
        if kind in ("burn", "bare"):
            acts.append((kind, round(draw.uniform(0.03, 0.2), 2)))
        elif kind == "span":
            acts.append((kind, drawn(draw, depth) if draw.random() < 0.6 else [("burn", 0.1)]))
        elif kind == "outcome":
            acts.append((kind,))
        elif depth:
            kind = draw.choice(["sub", "sh", "both", "fork", "spawn"])
            acts.append((kind, *(process(draw, depth - 1) for _ in range(1 + (kind == "both")))))
    return acts


def process(draw, depth):
    """A process: what it does, and how it ends."""
    return {"acts": drawn(draw, depth), "end": draw.choice(["well", "well", "well", "exit", "kill"])}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 11, 12, 14, 16, 17])
def test_nothing_in_a_random_tree_is_counted_twice_and_little_is_lost(seed, scene):
    (scene.folder / "node.py").write_text(NODE)
    root = {"acts": [("span", [("burn", 0.3), *drawn(random.Random(seed), 2)])], "end": "well"}
    seen = scene.run(MAIN.format(json.loads(json.dumps(root))), within=120)
    check_laws(seen)
    given = sum(one.cpu_ns for one in seen.all_spans) / 1e9
    assert given >= 0.75 * seen.cpu_s - 0.1  # recorders and interpreters that come and go are nobody's
