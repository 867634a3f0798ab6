"""Keys of carbon-intensity services as Prefect blocks, for who keeps secrets there rather than in the environment."""

from dataclasses import replace
from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from e2s_tasks.settings import Settings

NAME = "e2s"  # of the block document that is used


class ElectricityMapsKey(Block):
    """A key for Electricity Maps. Save it as `e2s`: `ElectricityMapsKey(key="...").save("e2s")`."""

    _block_type_name: ClassVar[str] = "Electricity Maps Key"
    _block_type_slug: ClassVar[str] = "electricity-maps-key"

    key: SecretStr = Field(description="The auth-token of the Electricity Maps API.")


class WattTimeLogin(Block):
    """A login for WattTime. Save it as `e2s`: `WattTimeLogin(user="...", password="...").save("e2s")`."""

    _block_type_name: ClassVar[str] = "WattTime Login"
    _block_type_slug: ClassVar[str] = "watttime-login"

    user: str = Field(description="The user name.")
    password: SecretStr = Field(description="The password.")


def with_keys(options: Settings) -> Settings:
    """The settings, with the keys that the chosen service needs and the environment lacks, if a block holds them."""
    if options.grid == "electricity-maps" and options.electricity_maps_key is None:
        block = _loaded(ElectricityMapsKey)
        return options if block is None else replace(options, electricity_maps_key=block.key.get_secret_value())
    if options.grid == "watttime" and options.watttime_password is None:
        block = _loaded(WattTimeLogin)
        if block is not None:
            return replace(options, watttime_user=block.user, watttime_password=block.password.get_secret_value())
    return options


def _loaded(kind: type[Block]) -> Any:
    try:
        return kind.load(NAME, _sync=True)  # type: ignore[call-arg]
    except Exception:  # noqa: BLE001 - there is none, or no server: the service says which key it lacks
        return None
