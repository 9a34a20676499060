"""The two ways in which a command can end badly."""


class InvalidInput(ValueError):
    """A mistake in what the user gave: the message says what, where, and how to mend it.

    The command line turns it into exit status 2.
    """


class RunFailed(RuntimeError):
    """A run that was asked for correctly and could not be completed: exit status 1."""
