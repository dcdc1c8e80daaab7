"""The ways in which a run ends early, each with its exit status. The message is the one line that the user sees."""

DONE, FAILED, BAD_REQUEST, TIMED_OUT, INTERRUPTED = 0, 1, 2, 3, 130


class ParlabError(Exception):
    """A fault that is told in one line; `status` is the exit status of the command."""

    status = FAILED


class BadRequest(ParlabError):
    """The request makes no sense here: the line says what is wrong and what would work."""

    status = BAD_REQUEST


class CheckFailed(ParlabError):
    """A case gave a wrong result. It is never timed."""
