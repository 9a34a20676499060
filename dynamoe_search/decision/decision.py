"""What a study has found so far."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Decision:
    """What a study has found so far.

    Parameters
    ----------
    candidate : str
        The candidate to take.
    indistinguishable : tuple of str
        The others that are statistically indistinguishable from it.
    sentences : tuple of str
        The same in words, with how sure it is.

    Examples
    --------
    >>> print(Decision("2-2", ("3-1",), ("Best schedule: 2-2.",)))
    Best schedule: 2-2.
    """

    candidate: str
    indistinguishable: tuple[str, ...]
    sentences: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        return "".join(f"<p>{escape(sentence)}</p>" for sentence in self.sentences)
