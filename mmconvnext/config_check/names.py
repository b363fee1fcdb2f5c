"""The name that a misspelt one was meant to be."""

import difflib
import re
from collections.abc import Iterable

# difflib's ratio of similarity. An unknown name that may be right is a mistake only if it is
# almost a known one: 'optim_wraper', but not 'train_dataset', which resembles 'train_dataloader'.
_SIMILAR, _ALMOST_EQUAL = 0.6, 0.85


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``'; did you mean NAME?'`` with the nearest known name, or ''."""
    known = list(known)
    initials = ''.join(word[:1] for word in name.split('_'))  # learning_rate: lr
    meant = [*_near(name, known, _SIMILAR), *({initials} & {*known})]
    return f'; did you mean {meant[0]}?' if meant else ''


def is_almost(name: str, known: Iterable[str]) -> bool:
    """Return whether an unknown name differs from a known one by a slip.

    Names such as ``val_evaluator_coco`` and ``img_path2`` are made from a known one on purpose.
    """
    near = _near(name, [*known], _ALMOST_EQUAL)
    return bool(near) and not re.fullmatch(re.escape(near[0]) + r'(_\w+|\d+)', name)


def _near(name: str, known: list[str], ratio: float) -> list[str]:
    one, other = (difflib.get_close_matches(n, known, 1, ratio) for n in (name, name.lower()))
    return one or other
