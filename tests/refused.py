"""Tables of what must be refused, and with which words: one test a table, which names every row that is not."""

import re
from collections.abc import Callable, Iterable
from typing import Any


def assert_refused(call: Callable[[Any], Any], rows: Iterable[tuple[Any, str]], error: type[Exception] = ValueError):
    """Each row is an argument for ``call``, and a pattern that the message of its error must match."""
    wrong = []
    for argument, message in rows:
        try:
            call(argument)
        except error as refusal:
            if not re.search(message, str(refusal)):
                wrong.append(f"{argument!r} is refused, but with the words: {refusal}")
        else:
            wrong.append(f"{argument!r} is not refused")
    assert not wrong, "\n".join(wrong)
