"""The plural of what people count: of the nouns in our own sentences, and of what they call an outcome."""

import re

_SIBILANT = re.compile(r"(s|x|z|ch|sh)$")
_TO_IES = re.compile(r"(?<=[^aeiou\W])y$")
_VOWEL = re.compile(r"[aeiouy]", re.IGNORECASE)


def plural(noun: str, number: float | None = None) -> str:
    """The noun as it stands beside a number: "1 batch", "3 batches", "2 deliveries".

    What ends in a single s is taken to be a plural; a last word without a vowel is a unit or an abbreviation ("3 kg").
    """
    last = noun.rpartition(" ")[2]
    if number == 1 or re.search(r"(?<!s)s$", last) or not _VOWEL.search(last):
        return noun
    return f"{noun}es" if _SIBILANT.search(noun) else _TO_IES.sub("ie", noun) + "s"
