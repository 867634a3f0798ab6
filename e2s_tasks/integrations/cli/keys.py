"""The settings with which a command asks the grid."""

from e2s_tasks.settings import Settings, settings

NO_ZONE = "No zone: give one with --zone (for example --zone GB) or set E2S_ZONE."
NEEDED = {"electricity-maps": "electricity_maps_key", "watttime": "watttime_password"}


def options_with_keys() -> Settings:
    """The settings, with a key that the chosen service needs and the environment lacks, if a Prefect block holds it."""
    options = settings()
    needed = NEEDED.get(options.grid)
    if options.trace is not None or needed is None or getattr(options, needed) is not None:
        return options
    try:
        from e2s_tasks.integrations.prefect.blocks import with_keys
    except ImportError:  # without Prefect there is no block
        return options
    return with_keys(options)
