"""A console that goes on where nobody reads it any more."""

from __future__ import annotations

import os
from contextlib import suppress

from rich.console import Console


class GoingOnConsole(Console):
    """A console of rich that becomes silent where its reader is gone, as in ``run STUDY | head``.

    Rich would end the program then, in the middle of a search.
    """

    def on_broken_pipe(self) -> None:
        """Send this output, and all that follows, nowhere."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with suppress(OSError):  # what has no descriptor is no pipe
            os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)
