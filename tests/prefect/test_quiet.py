"""What Prefect logs of hooks: the users' own, not ours."""

import logging

from e2s_tasks.integrations.prefect.quiet import quiet_hooks


def test_only_the_users_own_hooks_are_announced_however_the_line_is_put_together(caplog):
    quiet_hooks()
    logger = logging.getLogger("prefect.flow_runs")
    with caplog.at_level(logging.INFO, "prefect.flow_runs"):
        caplog.handler.setLevel(logging.INFO)
        logger.addHandler(caplog.handler)
        for name in ("e2s_publish_summary", "mine"):
            logger.info("Running hook %r in response to entering state %r", name, "Cancelling")
            logger.info(f"Hook {name!r} finished running successfully")  # noqa: G004 - as Prefect does
        logger.info({"not": "text"})
        logger.removeHandler(caplog.handler)
    told = {record.getMessage() for record in caplog.records}
    assert told == {
        "Running hook 'mine' in response to entering state 'Cancelling'",
        "Hook 'mine' finished running successfully",
        "{'not': 'text'}",
    }


def test_a_users_line_that_cannot_be_put_together_is_logging_s_own_trouble():
    quiet_hooks()
    record = logging.LogRecord("prefect.flow_runs", logging.INFO, "x.py", 1, "%d", ("no number",), None)
    assert logging.getLogger("prefect.flow_runs").filter(record)
