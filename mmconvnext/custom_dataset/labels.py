"""Read a custom dataset's folders of images and label maps, and interpret the ids."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmconvnext.data.coco_file import repeated
from mmconvnext.errors import UserError, first_line
from mmconvnext.preflight.read_files import Pair, read_pairs
from mmconvnext.preflight.segmentation import IGNORED, RENUMBERING, gaps, listed

# Image formats that OpenCV decodes.
PICTURES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


@dataclass(frozen=True)
class LabelledFolder:
    """Images and their label maps: two folders, the common names in them, and the endings."""

    images: str
    labels: str
    image_suffix: str
    labels_suffix: str
    names: list[str]


@dataclass(frozen=True)
class Meaning:
    """The meaning of ids: class names, whether 0 is unlabelled, the ignored id, and why."""

    classes: tuple[str, ...]
    reduce_zero_label: bool
    ignore_index: int
    why: str


def find_labelled(images: str, labels: str) -> LabelledFolder:
    """Find out how images and label maps are named.

    Raises UserError if a folder is missing or empty, endings are mixed, names do not match, a link
    is broken, or an image is in a hidden folder.
    """
    pictures = _files(images, PICTURES, 'images')
    suffixes = Counter(Path(name).suffix for name in pictures)
    if len(suffixes) > 1:
        counts = ', '.join(f'{count} {suffix}' for suffix, count in suffixes.most_common())
        raise UserError(
            f'{images}: expected images with one ending, got {counts}; mmseg reads one ending per '
            'folder: convert the others, or move them away'
        )
    (image_suffix,) = suffixes
    names = [name.removesuffix(image_suffix) for name in pictures]
    if hidden := next((name for name in pictures if name.startswith('.') or '/.' in name), None):
        raise UserError(
            f'{images}: expected no hidden folders, got {hidden}, which mmseg would read too; '
            'remove such folders'
        )
    files = _files(labels, ('.png', '.bmp', '.tif', '.tiff'), 'label maps')
    first = next((n for n in names if any(f.startswith(n) for f in files)), None)
    if first is None:
        raise UserError(
            f'{labels}: expected a label map with the name of {pictures[0]} in {images}, '
            f'got names such as {files[0]}; rename them'
        )
    ending = min((f.removeprefix(first) for f in files if f.startswith(first)), key=len)
    missing = sorted({*names} - {f.removesuffix(ending) for f in files if f.endswith(ending)})
    if missing:
        raise UserError(
            f'{labels}: expected {missing[0]}{ending} for {missing[0]}{image_suffix}, found no '
            f'label map for {len(missing)} of {len(names)} images; add them, or move the '
            'images away'
        )
    return LabelledFolder(images, labels, image_suffix, ending, names)


def _files(folder: str, suffixes: tuple[str, ...], what: str) -> list[str]:
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f'{folder}: expected a folder of {what}, found none; correct the path')
    found = sorted(
        path
        for path in root.rglob('*')
        # Hidden files, as macOS writes them, are skipped by mmseg too.
        if path.suffix.lower() in suffixes and not path.name.startswith('.')
    )
    if broken := next((path for path in found if not path.exists()), None):
        raise UserError(
            f'{broken}: expected a file, got a link to {os.readlink(broken)}, which does not '
            'exist; correct or remove the link'
        )
    if not found:
        raise UserError(
            f'{folder}: expected {what} ({", ".join(suffixes)}), found none; correct the path'
        )
    return [path.relative_to(root).as_posix() for path in found]


def read_labelled(folder: LabelledFolder) -> tuple[Counter[int], set[tuple[int, int]]]:
    """Return the pixels of each id in all label maps, and the sizes of all images.

    Raises UserError for ids beyond 0 to 255.
    """
    ids: Counter[int] = Counter()
    sizes = set()
    pictures = (f'{folder.images}/{name}{folder.image_suffix}' for name in folder.names)
    labels = (f'{folder.labels}/{name}{folder.labels_suffix}' for name in folder.names)
    for facts in read_pairs([*map(Pair, pictures, labels)]):
        problem = facts.labels_problem
        if not problem and not all(0 <= value <= 255 for value in facts.counts):
            problem = f'ids {listed(value for value in facts.counts if not 0 <= value <= 255)}'
        if problem:
            raise UserError(
                f'{facts.labels}: expected one channel with ids from 0 to 255, got {problem}; '
                "write the ids as grey values (mode 'L') or with a palette (mode 'P')"
            )
        ids.update(facts.counts)
        sizes |= {facts.size} if facts.size else set()
    return ids, sizes


def read_classes(given: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the given class names, or the lines of the given file; None for None.

    Raises UserError if a name is empty or occurs twice, or the file has no name.
    """
    if not given:
        return None
    names, file = [*given], given[0]
    if len(given) == 1 and os.path.isfile(file):  # False also for impossible file names
        try:
            lines = Path(file).read_text(encoding='utf-8').split('\n')
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f'--classes {file}: expected a file of names in UTF-8, could not read it '
                f'({first_line(error)})'
            ) from error
        names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise UserError(
            f'--classes {file}: expected a name on each line, got an empty file; add the names'
        )
    if not all(name.strip() for name in names):
        raise UserError(f'--classes: expected names, got an empty one among {names}; name it')
    if twice := repeated(names):
        raise UserError(
            f'--classes: expected different names, got {twice[0]!r} twice; correct them'
        )
    return tuple(names)


def decide(
    ids: Counter[int],
    classes: tuple[str, ...] | None,
    reduce_zero_label: bool | None,
    ignore_index: int | None,
) -> Meaning:
    """Find the meaning of the ids in label maps, from the pixels of each id.

    Without ``classes`` the number of classes follows from the ids. ``reduce_zero_label`` (0 is
    unlabelled and id k is class k - 1) follows from the ids if it is None. ``ignore_index`` None
    means 255. Raises UserError if the ids do not fit the classes, or options contradict each other.
    """
    ignored = IGNORED if ignore_index is None else ignore_index
    values = sorted({*ids} - {ignored})
    _require_possible(ids, values, classes, reduce_zero_label, ignored)
    reduced = reduce_zero_label
    named = classes is not None and len(classes) == 1 and values == [0, 1] and not reduced
    if named and classes:
        classes, reduced = ('background', *classes), False
    if reduced is None:
        beyond = classes is not None and values[-1] == len(classes)
        reduced = ignored == IGNORED and (beyond or (classes is None and values[0] > 0))
    first = int(reduced)
    if classes is None:
        _require_few_gaps(ids, values)
        classes = tuple(f'class_{value}' for value in range(first, values[-1] + 1))
    last = len(classes) - 1 + first
    if values[-1] > last:
        changes = gaps(ids, len(classes))
        raise UserError(
            f'labels: expected ids from {first} to {last} for {len(classes)} classes, got '
            f'{listed(values)}; '
            + (f'write {changes}{RENUMBERING}' if changes else 'name all classes with --classes')
            + ('' if reduced else ', or give the ignored id with --ignore-index')
        )
    why = _why(ids, values, reduced, ignored, reduce_zero_label)
    if named:
        why = f'ids found: {listed(values)}; 0 is the class background, 1 is {classes[1]}'
    return Meaning(classes, reduced, ignored, why)


def _require_possible(
    ids: Counter[int],
    values: list[int],
    classes: tuple[str, ...] | None,
    reduce_zero_label: bool | None,
    ignored: int,
) -> None:
    if not values:
        raise UserError(
            f'labels: expected ids of classes, got only {ignored}, which is ignored; write the '
            'ids of the classes into the files'
        )
    if values == [0] and IGNORED in ids:
        raise UserError(
            'labels: expected the ids 0 and 1, got 0 and 255, and 255 is ignored; write 1 instead '
            f'of 255{RENUMBERING}'
        )
    if ignored != IGNORED and reduce_zero_label:
        raise UserError(
            f'--ignore-index {ignored}: with --reduce-zero-label mmseg ignores only 0 and 255; '
            'leave out one of the two options'
        )
    if ignored == 0:
        raise UserError(
            '--ignore-index 0: expected class ids from 0, found them from 1; give '
            '--reduce-zero-label, which ignores 0 and makes id k class k - 1'
        )
    if ignored != IGNORED and IGNORED in ids:
        raise UserError(
            f'--ignore-index {ignored}: expected one ignored id, found 255 in the label maps too; '
            f'write {ignored} instead of 255'
        )


def _require_few_gaps(ids: Counter[int], values: list[int]) -> None:
    """Raise if more classes would be missing than there are."""
    if values[-1] - values[0] + 1 > 2 * len(values):
        raise UserError(
            f'labels: expected ids without gaps, got {listed(ids)}; write {gaps(ids)}'
            f'{RENUMBERING}, or name all classes with --classes'
        )


def require_two_classes(ids: Counter[int], meaning: Meaning) -> None:
    """Raise UserError if the label maps for training, with these ids, have a single class."""
    labels = {*ids} - {meaning.ignore_index, 0 if meaning.reduce_zero_label else None}
    if not labels:
        raise UserError(
            'labels: expected 2 classes or more to train on, got only ignored pixels in the label '
            'maps for training; label them, or correct the ids'
        )
    if len(labels) < 2:
        raise UserError(
            f'labels: expected 2 classes or more to train on, got only id {listed(labels)}'
            f'{" apart from 0, which is ignored" if meaning.reduce_zero_label else ""}: there is '
            'nothing to tell apart; add label maps with other classes, or correct the ids'
            + ('; if 0 is a class, give --no-reduce-zero-label' if 0 in ids else '')
        )


def _why(
    ids: Counter[int], values: list[int], reduced: bool, ignored: int, asked: bool | None
) -> str:
    total = sum(ids.values())
    share = f'{ids.get(0, 0) / total:.1%}'
    if reduced:
        meaning = f'id k is class k - 1, 0 ({share} of the pixels) is ignored'
        choice = '' if asked else '; if 0 is a class, give --no-reduce-zero-label'
    else:
        meaning = f'id k is class k, 0 ({share} of the pixels) too'
        choice = '' if asked is False else '; if 0 means unlabelled, give --reduce-zero-label'
    rest = f', {ignored} ({ids[ignored] / total:.1%}) is ignored' if ids.get(ignored) else ''
    return f'ids found: {listed(values)}; {meaning}{rest}{choice}'
