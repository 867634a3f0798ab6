"""Which GPUs this process may use: the meaning of CUDA_VISIBLE_DEVICES."""

from collections.abc import Sequence


def visible_devices(setting: str | None, uuids: Sequence[str]) -> list[int]:
    """The indices of the visible cards, in CUDA's order; every card where the variable is not set (None).

    setting: indices, UUIDs (GPU-...) or prefixes of them, or MIG devices in the form MIG-GPU-<uuid>/..., by commas. As
    in the CUDA runtime, the first entry that names no card ends the list, and an entry that comes twice empties it.
    A bare MIG-<uuid> does not tell its card, which is then every card: whoever asks leaves cards in MIG mode out.
    """
    if setting is None:
        return list(range(len(uuids)))
    chosen: list[int] = []
    for entry in setting.split(","):
        text = entry.strip()
        if text.startswith("MIG-") and not text.startswith("MIG-GPU-"):
            return list(range(len(uuids)))
        index = _index(text, uuids)
        if index is None:
            break
        if index in chosen:
            if text.startswith("MIG-"):  # two parts of one card
                continue
            return []
        chosen.append(index)
    return chosen


def _index(text: str, uuids: Sequence[str]) -> int | None:
    """The card that an entry names; None where it names none, or several."""
    if text.startswith("MIG-GPU-"):
        text = text.removeprefix("MIG-").partition("/")[0]
    if text.startswith("GPU-"):
        found = [index for index, uuid in enumerate(uuids) if uuid.startswith(text)]
        return found[0] if len(found) == 1 else None
    digits = text[: len(text) - len(text.lstrip("0123456789"))]  # like strtoul: "1abc" is 1
    return int(digits) if digits and int(digits) < len(uuids) else None
