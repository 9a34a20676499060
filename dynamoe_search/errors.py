"""The two errors for users."""


class InvalidInput(ValueError):
    """A mistake in the user's input. The message says what and where it is, and how to correct it.

    The command line exits with status 2.
    """


class RunFailed(RuntimeError):
    """A correct request that could not be completed. The command line exits with status 1."""
