"""Names as policies write them, with ``*`` for any run of characters -> whether a name is one of them.

``match`` and ``check`` use it for deployments, ``conditions`` for what callers send. Linear in the name, whatever the
pattern: callers choose what it is held against.
"""

import re
from collections.abc import Callable, Iterable

Names = Callable[[str], bool]


def names(globs: Iterable[str]) -> Names:
    """Whether a whole name is one of these; nothing but ``*`` is special."""
    pattern = "|".join(map(_pattern, globs))
    if not pattern:
        return lambda name: False
    search = re.compile(pattern, re.DOTALL).fullmatch
    return lambda name: search(name) is not None


def _pattern(glob: str) -> str:
    """Each part between two stars is taken where it stands first, for good: there is nothing to come back to."""
    first, *rest = map(re.escape, glob.split("*"))
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>.*?{part})" for part in middle if part) + ".*" + last
