"""Our state hooks of flows stay out of the users' logs: Prefect announces each in two lines."""

import logging

OURS = ("hook 'e2s_", "Hook 'e2s_")


def quiet_hooks() -> None:
    """From now on Prefect does not log that our hooks run; the users' own hooks are announced as before."""
    for name in ("prefect.flow_runs", "prefect.engine"):
        logger = logging.getLogger(name)
        if _not_ours not in logger.filters:
            logger.addFilter(_not_ours)


def _not_ours(record: logging.LogRecord) -> bool:
    try:
        message = record.getMessage()  # some announcements carry the hook's name as an argument
    except Exception:  # noqa: BLE001 - a user's own line that cannot be put together: logging tells them
        return True
    return not any(mark in message for mark in OURS)
