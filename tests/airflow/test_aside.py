"""What is done beside Airflow's own work holds up neither that nor the end of its process."""

import subprocess
import sys
import time

PROGRAM = """
import time
from e2s_tasks.integrations.airflow import aside

aside.look("looking", lambda: time.sleep(60))
for _ in range(300):
    aside.look("looking", lambda: None)
aside.write("writing", lambda: (time.sleep(1), print("written")))
"""


def test_the_end_of_a_process_waits_for_what_is_written_and_not_for_looks_that_hang():
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "written\n"
    assert time.monotonic() - begun < 40
    assert done.stderr.count("it is left out") == 1
