"""CMA-ES keeps its state in the records as a pickle, and records are not to be trusted."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable

from optuna.trial import FrozenTrial

from dynamoe_search.errors import InvalidInput

_PREFIX = "cma:optimizer:"
# All that the state of the optimizer is made of.
_HARMLESS = {
    ("cmaes._cma", "CMA"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
}


def check_sampler_state(trials: Iterable[FrozenTrial]) -> None:
    """See that nothing but the state of CMA-ES is in the trials' pickles, before Optuna loads them.

    Raises
    ------
    InvalidInput
        Where something else is.
    """
    for trial in trials:
        pieces = {
            int(key.removeprefix(_PREFIX)): str(value)
            for key, value in trial.system_attrs.items()
            if key.startswith(_PREFIX)
        }
        if not pieces:
            continue
        try:
            _Careful(io.BytesIO(bytes.fromhex("".join(pieces[i] for i in sorted(pieces))))).load()
        except Exception as error:
            raise InvalidInput(
                f"trial {trial.number} holds a state of CMA-ES that is none ({error}); do not run"
                " these records, unless they are your own: then take another sampler"
            ) from error


class _Careful(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)
