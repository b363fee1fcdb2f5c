"""What is wrong with a data set: findings of three levels, counted, with the first offenders."""

from collections.abc import Iterable
from dataclasses import dataclass, field

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


class Findings:
    """Collects findings in the order in which they are made."""

    def __init__(self) -> None:
        self._all: list[Finding] = []

    def add(
        self, level: str, split: str, kind: str, message: str, offenders: Iterable[object] = ()
    ) -> None:
        """Add a finding, with the names of those it is about."""
        names = [str(offender) for offender in offenders]
        self._all.append(Finding(level, split, kind, message, len(names), names[:KEPT]))

    def add_offenders(
        self,
        level: str,
        split: str,
        kind: str,
        message: str,
        offenders: Iterable[object],
        total: int | None = None,
    ) -> None:
        """Add a finding about some of many things, where there are any.

        Args:
            level: As in :class:`Finding`; with a ``total``, that of a few offenders.
            split: Where they are.
            kind: What it is, in one or two words for a program.
            message: What it is, what follows and what to do.
            offenders: Names of files or ids.
            total: Number of all things of their sort: from :data:`LARGE_SHARE` of them on, the
                finding is an error.
        """
        names = [str(offender) for offender in offenders]
        if not names:
            return
        if total and len(names) >= LARGE_SHARE * total:
            level = 'error'
        self.add(level, split, kind, message, names)

    def of(self, level: str) -> list[Finding]:
        """Findings of one level."""
        return [finding for finding in self._all if finding.level == level]

    def sorted(self) -> list[Finding]:
        """All findings, the gravest first."""
        return sorted(self._all, key=lambda finding: LEVELS.index(finding.level))
