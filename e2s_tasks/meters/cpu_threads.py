"""How many hardware threads a CPU has, by its name: a virtual machine's own /proc/cpuinfo shows only its share."""

import re

# Xeon models of public clouds whose name does not tell their size: threads by Intel's product pages (ARK), 2024-12.
# AMD's names carry the number of cores ("AMD EPYC 7763 64-Core Processor"); cloud-only models of both are not listed.
XEON_THREADS = {
    "E5-2680 v4": 28, "E5-2690 v4": 28, "E5-2697 v4": 36, "Gold 6148": 40, "Gold 6230": 40, "Gold 6248": 40,
    "Gold 6338": 64, "Gold 6348": 56, "Platinum 8168": 48, "Platinum 8176": 56, "Platinum 8180": 56,
    "Platinum 8260": 48, "Platinum 8280": 56, "Platinum 8358": 64, "Platinum 8380": 80, "Platinum 8480+": 112,
    "Platinum 8490H": 120, "Platinum 8592+": 128,
}  # fmt: skip


def threads(name: str) -> int | None:
    """Hardware threads of one CPU of this name, two per core; None where the name does not tell."""
    cores = re.search(r"\b(\d{1,3})-Core\b", name)
    if cores and "AMD" in name:
        return 2 * int(cores.group(1))
    plain = name.replace("(R)", "").replace("(TM)", "").replace(" CPU", "")
    for model, count in XEON_THREADS.items():
        if re.search(rf"\b{re.escape(model)}(?![\w+])", plain):
            return count
    return None
