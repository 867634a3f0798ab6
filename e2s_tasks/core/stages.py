"""The stages of a solution's life cycle: what a piece of work is done for."""

from e2s_tasks.errors import SettingError

STAGES = ("data_preparation", "training", "evaluation", "inference", "maintenance")


def stage_of(text: str) -> str:
    """The stage that the text names, in any case, with spaces or dashes: "Data preparation".

    Raises:
        SettingError: there is no such stage; the message lists them.
    """
    found = "_".join(str(text).replace("-", " ").replace("_", " ").lower().split())
    if found not in STAGES:
        raise SettingError(f"stage={text!r} is no stage of a life cycle: give one of {', '.join(STAGES)}.")
    return found
