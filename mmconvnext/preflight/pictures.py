"""Check image files: unreadable files, wrong sizes, copies, and leaks between splits."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from mmconvnext.data.orientation import SWAPPING
from mmconvnext.preflight.findings import Findings
from mmconvnext.preflight.read_files import MISSING, Facts

_DARK = 64  # of 255: 16-bit files hold 14 bits or fewer


def check_images(facts: Sequence[Facts], findings: Findings) -> None:
    """Report unreadable images, by problem."""
    for problem in sorted({fact.problem for fact in facts} - {''}):
        message = f'unreadable images ({problem}): training fails on them; replace them'
        if problem == MISSING:
            message = (
                'missing images: training fails on them; add them, or remove their '
                'entries from the annotations'
            )
        elif 'truncated' in problem.lower():
            message = (
                f'incomplete images ({problem}), which would be filled with grey; replace them'
            )
        files = [f.image for f in facts if f.problem == problem and not f.has_unread_values]
        findings.error('unreadable images', message, files)


def check_pixel_formats(facts: Sequence[Facts], findings: Findings) -> None:
    """Report images of more than 8 bits, or with channels or pages that the pipeline drops."""
    findings.error(
        'values of images',
        'images of 32-bit floats or other values beyond 16 bits, which OpenCV cannot reduce to 8: '
        'training fails on them; save them with 8 bits, with the command of docs/own_project.md',
        [
            f'{fact.image} ({fact.bits}-bit {"floats" if fact.floats else "integers"})'
            for fact in facts
            if fact.has_unread_values
        ],
    )
    deep = [fact for fact in facts if fact.bits > 8 and fact.size]
    brightest = max((fact.brightest for fact in deep), default=0)
    findings.add(
        # 16 bits that are used in full are read well.
        *('warning' if brightest > _DARK else 'error', 'bits of images'),
        f'images of more than 8 bits, of which the pipeline keeps the upper 8: values are '
        f'0…{brightest} of 255; save them with 8 bits, with the command of docs/own_project.md',
        [f'{fact.image} ({fact.bits} bits)' for fact in deep],
    )
    findings.warning(
        'channels of images',
        'images with channels beyond colour (transparency or other bands), which are dropped: '
        'the model gets 3 channels; save them with 3 to end this warning',
        [f'{f.image} ({f.channels} channels)' for f in facts if f.channels not in (1, 3)],
    )
    findings.warning(
        'pages of images',
        'image files with several pages or frames, of which only the first is read; save it as an '
        'image of its own to end this warning',
        [fact.image for fact in facts if fact.more_pages],
    )


def check_sizes(
    facts: Sequence[Facts], images: Sequence[dict], color_type: str, findings: Findings
) -> None:
    """Compare image sizes with those in ``images``, the records of the json."""
    sizes = [(image['width'], image['height']) for image in images]
    check_turned(facts, sizes, color_type, findings)
    findings.error(
        'sizes of images',
        'images with another size than in the json, so that boxes and masks do not match: '
        'annotate these files, or correct width and height',
        [
            f'{fact.image} {size_text(fact.size)}, json {size_text(size)}'
            for fact, size in zip(facts, sizes)
            if fact.size and not fits(fact, size)
        ],
    )


def fits(fact: Facts, annotated: tuple[int, int] | None) -> bool:
    """Return whether an image has the annotated (width, height), before or after EXIF turns it.

    In both cases the annotations fit: one of the two is turned when they are loaded.
    """
    turned = fact.turned in SWAPPING and fact.size is not None and fact.size[::-1] == annotated
    return fact.size == annotated or turned


def check_turned(
    facts: Sequence[Facts],
    annotated: Sequence[tuple[int, int] | None],
    color_type: str,
    findings: Findings,
) -> None:
    """Report images that EXIF turns without changing the annotated (width, height)."""
    turned = [
        fact.image
        for fact, size in zip(facts, annotated)
        if size and fact.turned and fact.size == size
        if fact.turned not in SWAPPING or size[0] == size[1]
    ]
    findings.warning(
        'turned images',
        'images that EXIF rotates or mirrors on loading, and whose annotations fit before and '
        'after that; if they were made without it, set color_type="color_ignore_orientation" in '
        'LoadImageFromFile',
        [] if color_type.endswith('ignore_orientation') else turned,
    )


def size_text(size: Sequence[float]) -> str:
    """Return a width and a height as text."""
    return f'{size[0]} × {size[1]}'


def check_copies(
    read: Mapping[str, Sequence[Facts]], splits: Mapping[str, str], findings: Findings
) -> None:
    """Find files with the same content, within datasets and between training and evaluation.

    The keys of ``read`` and ``splits`` are the datasets' names.
    """
    files: dict[str, dict[bytes, dict[str, None]]] = {}
    for name, facts in read.items():
        files[name] = defaultdict(dict)  # a dict as an ordered set: a file may be listed twice
        for fact in facts:
            if fact.digest and fact.size:
                files[name][fact.digest][fact.image] = None
        findings.of_split(name).warning(
            'copies',
            'images that are copies of other images in the same dataset: they count twice',
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
                f'images that are also training images ({share:.1%}): the score is not valid '
                'for new images; remove them from one of the datasets',
                [f'{next(iter(files[name][d]))} = {next(iter(trained[d]))}' for d in leaks],
                len(files[name]),
            )
