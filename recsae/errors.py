"""Errors that a user may see, each with the exit code it ends the program with.

A message names the thing and the bad value; the hint is the command or option that mends it.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Meaning of the process exit status; scripts may rely on it."""

    OK = 0
    DATA = 1
    """A query failed, or data on disk is missing, damaged or not what its name says."""
    USAGE = 2
    """An option, argument or configuration value is not acceptable."""
    STAGE = 3
    """An earlier stage has not run yet."""
    JUDGE = 4
    """The language-model judge failed."""


class RecsaeError(Exception):
    """Base of every error that ends a command with one clear line instead of a traceback."""

    exit_code: ExitCode = ExitCode.DATA

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """The message, and the hint on a line of its own."""
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class DataError(RecsaeError):
    """A query, a file or the warehouse cannot be used as it is."""

    exit_code = ExitCode.DATA


class UsageError(RecsaeError):
    """An option, argument or configuration value is not acceptable."""

    exit_code = ExitCode.USAGE


class MissingStageError(RecsaeError):
    """An earlier stage has to run first; the hint is the command that runs it."""

    exit_code = ExitCode.STAGE


class JudgeError(RecsaeError):
    """The language-model judge could not answer."""

    exit_code = ExitCode.JUDGE
