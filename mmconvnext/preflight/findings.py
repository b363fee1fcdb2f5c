"""Findings about a dataset, by level and with the first offenders, and its numbers."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partialmethod

import numpy as np

LEVELS = ('error', 'warning', 'note')
KEPT = 100  # maximal named offenders of a finding; the others are only counted
# A few offenders among thousands do not change the score; from this fraction on they do, and a
# warning becomes an error.
LARGE_SHARE = 0.01


@dataclass
class Finding:
    """A problem or note of one kind in one split.

    ``level`` is ``'error'`` if training or evaluation would fail or silently be wrong,
    ``'warning'`` if this is possible, ``'note'`` for information. ``message`` names the problem,
    its effect and the remedy. ``count`` is the number of all offenders, ``offenders`` has the
    first.
    """

    level: str
    split: str
    kind: str
    message: str
    count: int = 0
    offenders: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Findings:
    """Collects the findings of all splits, in order."""

    split: str = ''  # the split of the next finding
    everywhere: list[Finding] = field(default_factory=list)

    def of_split(self, split: str) -> 'Findings':
        """Return the same collection, for adding findings of a split."""
        return replace(self, split=split)

    def add(
        self,
        level: str,
        kind: str,
        message: str,
        offenders: Iterable[object] | None = None,
        total: int | None = None,
    ) -> None:
        """Add a finding; if ``offenders`` (files or ids) are given, only if there are any.

        ``kind`` is a short key for programs. ``total`` is the number of all items that could be
        offenders: from a fraction of :data:`LARGE_SHARE`, the finding is an error.
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
        """Return the findings of one level."""
        return [finding for finding in self.everywhere if finding.level == level]

    def sorted(self) -> list[Finding]:
        """Return all findings, errors first."""
        return sorted(self.everywhere, key=lambda finding: LEVELS.index(finding.level))


@dataclass
class Summary:
    """Numbers of one dataset.

    ``counts`` are the instances or pixels (``unit``) of each class; ``object_sizes`` are square
    roots of box areas in pixels; ``image_sizes`` counts images by (width, height).
    """

    name: str
    unit: str
    classes: tuple[str, ...]
    images: int = 0
    annotated: int = 0
    counts: list[int] = field(default_factory=list)
    object_sizes: np.ndarray = field(default_factory=lambda: np.zeros(0))
    image_sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
