"""What is wrong with a dataset, by level and with the first offenders; and its numbers."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partialmethod

import numpy as np

LEVELS = ('error', 'warning', 'note')
KEPT = 100  # offenders of a finding by name; of the rest, their number
# A few offenders in a set of thousands leave the score as it is; from this part of it on they do
# not, and what was suspicious is wrong.
LARGE_SHARE = 0.01


@dataclass
class Finding:
    """One kind of thing that was found in one split.

    ``level`` is ``'error'`` where training or evaluation would fail or silently be wrong,
    ``'warning'`` where that may be, ``'note'`` for what is good to know. ``message`` says what it
    is, what follows and what to do. ``count`` counts all offenders, ``offenders`` names the first.
    """

    level: str
    split: str
    kind: str
    message: str
    count: int = 0
    offenders: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Findings:
    """Collects findings, those of all splits, in the order in which they are made."""

    split: str = ''  # whose finding the next one is
    everywhere: list[Finding] = field(default_factory=list)

    def of_split(self, split: str) -> 'Findings':
        """The same findings, to add those of a split."""
        return replace(self, split=split)

    def add(
        self,
        level: str,
        kind: str,
        message: str,
        offenders: Iterable[object] | None = None,
        total: int | None = None,
    ) -> None:
        """Add a finding; one with ``offenders``, files or ids, only where there are any.

        ``kind`` is one or two words for a program. ``total`` is the number of all things of the
        offenders' sort: from :data:`LARGE_SHARE` of them on, the finding is an error.
        """
        names = [str(offender) for offender in offenders or ()]
        if offenders is None or names:
            level = 'error' if total and len(names) >= LARGE_SHARE * total else level
            finding = Finding(level, self.split, kind, message, len(names), names[:KEPT])
            self.everywhere.append(finding)

    error = partialmethod(add, 'error')
    warning = partialmethod(add, 'warning')
    note = partialmethod(add, 'note')

    def of(self, level: str) -> list[Finding]:
        """Findings of one level."""
        return [finding for finding in self.everywhere if finding.level == level]

    def sorted(self) -> list[Finding]:
        """All findings, the gravest first."""
        return sorted(self.everywhere, key=lambda finding: LEVELS.index(finding.level))


@dataclass
class Summary:
    """Numbers of one dataset.

    ``counts`` are instances or pixels of each class, as ``unit`` says; ``object_sizes`` square
    roots of the areas of boxes in pixels; ``image_sizes`` counts (width, height).
    """

    name: str
    unit: str
    classes: tuple[str, ...]
    images: int = 0
    annotated: int = 0
    counts: list[int] = field(default_factory=list)
    object_sizes: np.ndarray = field(default_factory=lambda: np.zeros(0))
    image_sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
