"""The keys of a config, each checked for its type and range when it is read.

A config is an untrusted file: nothing in it is taken as it is.
"""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dynamoe_search.errors import InvalidInput
from dynamoe_search.untrusted import shown

LARGEST = 10**8
"""The largest number that a config may have: no width, vocabulary or number of experts is near."""
MOST_LAYERS = 4096
"""The most layers of a model."""
_OF_THE_MODEL = ("hidden_size", "num_hidden_layers", "vocab_size")


@dataclass(frozen=True)
class Keys:
    """A JSON object with defaults for missing keys.

    Parameters
    ----------
    values : mapping
        The object, which is only read.
    where : str
        What it is, for messages: a file, or a part of it.
    defaults : mapping
        The values of keys that it does not have.
    same : mapping of str to str
        Other names of keys: from the other name to the name that is asked for.

    Examples
    --------
    >>> keys = Keys({"num_experts": 8}, "config.json", {"heads": 4}, {"num_experts": "experts"})
    >>> keys.whole("experts"), keys.whole("heads")
    (8, 4)
    """

    values: MutableMapping[str, Any]
    where: str
    defaults: Mapping[str, Any]
    same: Mapping[str, str]

    def name_of(self, name: str) -> str:
        """The name under which the object has a key: its own, or another of the same meaning."""
        if name in self.values:
            return name
        others = (other for other, meant in self.same.items() if meant == name)
        return next((other for other in others if other in self.values), name)

    def has(self, name: str) -> bool:
        """Whether the object itself has a key."""
        return self.name_of(name) in self.values

    def value(self, name: str) -> Any:
        """The value of a key, or its default, unchecked.

        Raises
        ------
        InvalidInput
            Where there is neither.
        """
        found = self.name_of(name)
        if found in self.values:
            return self.values[found]
        if name in self.defaults:
            return self.defaults[name]
        raise InvalidInput(f"{self.where}: the key {name} is missing")

    def refuse(self, name: str, expected: str) -> InvalidInput:
        """The error for a value that is not what was expected."""
        text = json.dumps(self.value(name), default=str)
        return InvalidInput(
            f"{self.where}: {shown(self.name_of(name))} is {shown(text)[:120]}; expected {expected}"
        )

    def whole(self, name: str, least: int = 1, most: int = LARGEST) -> int:
        """A whole number."""
        value = self.value(name)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.refuse(name, f"a whole number from {least} to {most}")
        return value

    def optional(self, name: str, least: int = 1, most: int = LARGEST) -> int | None:
        """A whole number, or None where the value is null."""
        return None if self.value(name) is None else self.whole(name, least, most)

    def flag(self, name: str) -> bool:
        """True or false; null is false."""
        value = self.value(name)
        if value is not None and not isinstance(value, bool):
            raise self.refuse(name, "true or false")
        return bool(value)

    def choices(self, name: str, length: int, allowed: Sequence[str]) -> list[str] | None:
        """A list of words, one per layer; None where the value is null."""
        value = self.value(name)
        if value is None:
            return None
        fits = isinstance(value, list) and len(value) == length
        if not fits or not all(one in allowed for one in value):
            raise self.refuse(name, f"a list of {length} words, each of {', '.join(allowed)}")
        return list(value)

    def wholes(
        self, name: str, least: int, most: int, length: int | None = None
    ) -> list[int] | None:
        """A list of whole numbers; None where the value is null."""
        value = self.value(name)
        if value is None:
            return None
        fits = isinstance(value, list) and (length is None or len(value) == length)
        if not fits or not all(type(one) is int and least <= one <= most for one in value):
            count = "" if length is None else f"{length} "
            raise self.refuse(name, f"a list of {count}whole numbers from {least} to {most}")
        return list(value)

    def part(self, name: str) -> Keys:
        """An object in the object; without it, or where it is null, an empty one."""
        found = self.values.get(name)
        found = {} if found is None else found
        if not isinstance(found, dict):
            raise self.refuse(name, "an object")
        defaults = self.defaults.get(name, {})
        return Keys(found, f"{self.where}: {shown(name)}", defaults, self.same)

    def overridden(self, values: Mapping[str, Any], where: str) -> Keys:
        """The same keys, of which some have other values, for one layer.

        Raises
        ------
        InvalidInput
            For a key that only the whole model can have.
        """
        for name in values:
            if self.same.get(name, name) in _OF_THE_MODEL:
                raise InvalidInput(f"{where}: no layer can have its own {name}; remove it")
        named = {self.name_of(self.same.get(name, name)): value for name, value in values.items()}
        return replace(self, values=ChainMap(named, self.values), where=where)
