"""What is wrong with image files: those that do not open, other sizes, copies and leaks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from mmconvnext.preflight.findings import Findings
from mmconvnext.preflight.read_files import Facts


def check_images(facts: Sequence[Facts], findings: Findings) -> None:
    """List what cannot be read, by problem."""
    for problem in sorted({fact.problem for fact in facts} - {''}):
        message = f'images that do not open ({problem}): training ends there; replace them'
        if problem == 'does not exist':
            message = (
                'images that are not there: training ends there; add them, or take their '
                'entries out of the annotations'
            )
        elif 'truncated' in problem.lower():
            message = (
                f'images that are cut off ({problem}), and would be filled up with grey; '
                'replace them'
            )
        files = [fact.image for fact in facts if fact.problem == problem]
        findings.error('unreadable images', message, files)


def check_sizes(facts: Sequence[Facts], images: Sequence[dict], findings: Findings) -> None:
    """Compare the images with the sizes that ``images``, their records in the json, state."""
    other: list[str] = []
    turned: list[str] = []
    for fact, image in zip(facts, images):
        stated = image['width'], image['height']
        if fact.size is None or fact.size == stated:
            continue
        text = f'{fact.image} {size_text(fact.size)}, json {size_text(stated)}'
        (turned if fact.turned and fact.size == stated[::-1] else other).append(text)
    findings.error(
        'turned images',
        'images that EXIF turns on loading, so that boxes and masks do not lie on their objects: '
        'write the pixels as annotated, without the tag',
        turned,
    )
    findings.error(
        'sizes of images',
        'images of another size than the json states, so that boxes and masks do not lie on '
        'their objects: annotate these files, or correct width and height',
        other,
    )


def size_text(size: Sequence[float]) -> str:
    """A width and a height for a person."""
    return f'{size[0]} × {size[1]}'


def check_copies(
    read: Mapping[str, Sequence[Facts]], splits: Mapping[str, str], findings: Findings
) -> None:
    """Find files with the same content, within datasets and between training and evaluation.

    ``read`` and ``splits`` are by name of the dataset.
    """
    files: dict[str, dict[bytes, dict[str, None]]] = {}
    for name, facts in read.items():
        files[name] = defaultdict(dict)  # a dict as an ordered set: a file may be listed twice
        for fact in facts:
            if fact.digest and fact.size:
                files[name][fact.digest][fact.image] = None
        findings.of_split(name).warning(
            'copies',
            'images that are copies of others of the same dataset: they count twice',
            [' = '.join(same) for same in files[name].values() if len(same) > 1],
        )
    trained: dict[bytes, dict[str, None]] = {}
    for name in read:
        trained |= files[name] if splits[name] == 'train' else {}
    for name in read:
        if splits[name] != 'train':
            leaks = [digest for digest in files[name] if digest in trained]
            share = len(leaks) / max(1, len(files[name]))
            findings.of_split(name).warning(
                'leaks',
                f'images that are training images too ({share:.1%}): the score says little '
                'about new ones; take them out of one of the two',
                [f'{next(iter(files[name][d]))} = {next(iter(trained[d]))}' for d in leaks],
                len(files[name]),
            )
