"""Errors that virtproof reports to people: what was tried, what came back, what to do.

Every module raises ``Fault`` (or a subclass) for anything that the user or the host can cause.
Any other exception that reaches the command line is a bug of ours.
"""


class Fault(Exception):
    """An error for a person.

    ``tried`` says what was attempted, ``saw`` what came back, ``remedy`` what to do about it (may be empty).
    """

    def __init__(self, tried: str, saw: str, remedy: str = "") -> None:
        super().__init__(tried, saw, remedy)
        self.tried, self.saw, self.remedy = tried, saw, remedy

    def __str__(self) -> str:
        text = f"{self.tried}: {self.saw}"
        return f"{text}\n  to do: {self.remedy}" if self.remedy else text


def unforeseen(error: BaseException) -> str:
    """Tell of an exception that is no ``Fault`` in one line: its kind, its text, and what notes say of its place."""
    return "; ".join((f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())))
