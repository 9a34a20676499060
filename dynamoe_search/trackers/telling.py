"""What a study tells callbacks while it is carried out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from dynamoe_search.log.runs import Stage
from dynamoe_search.trackers.following import following
from dynamoe_search.trackers.happenings import Callback, Conclusion

if TYPE_CHECKING:
    from dynamoe_search.study import Study


def telling(
    study: Study, callbacks: Sequence[Callback], stage: Stage
) -> Callable[[], AbstractContextManager[None]]:
    """The context of a session in which callbacks are told what happens in a stage of a study."""
    if not callbacks:
        return nullcontext
    conclude = _of_search if stage == "search" else _of_confirmation
    return partial(
        following, callbacks, study.storage, stage, study.title, partial(conclude, study)
    )


def _of_search(study: Study) -> Conclusion:
    found = study.decision()
    numbers = {
        "expected_regret": found.expected_regret,
        "regret_bound": found.bound,
        "margin": found.margin,
        "further_runs": math.nan if found.further_runs is None else float(found.further_runs),
    }
    known = {name: value for name, value in numbers.items() if math.isfinite(value)}
    return Conclusion(found.candidate, found.sentences, known)


def _of_confirmation(study: Study) -> Conclusion:
    from dynamoe_search.report.confirmation import confirmation_sentences

    table, found = study.confirmation()
    sentences = confirmation_sentences(table, found.title, found.margin, len(found.seeds))
    return Conclusion(found.reference, tuple(sentences), {"margin": found.margin})
