"""Read a custom dataset's COCO json files for training and validation."""

from dataclasses import dataclass
from pathlib import Path

from mmconvnext.data.coco_file import CocoFile, quoted, read_coco, repeated
from mmconvnext.errors import UserError


@dataclass(frozen=True)
class OwnCoco:
    """Properties of a pair of annotation files, for training and validation.

    The counts are training images with annotations, all training images, and validation images.
    """

    classes: tuple[str, ...]
    has_masks: bool
    annotated: int
    training: int
    validation: int


def read_own_coco(train_file: str, train_images: str, val_file: str, val_images: str) -> OwnCoco:
    """Read both files; raise UserError if a file is missing, empty or invalid, or they disagree."""
    train, val = files = _read(train_file, train_images), _read(val_file, val_images)
    names = [tuple(category['name'] for category in file.categories) for file in files]
    if names[0] != names[1]:
        raise UserError(
            f'{val_file}: expected the categories of {train_file} in the same order, '
            f'{quoted(names[0])}, got {quoted(names[1])}; export both files the same way'
        )
    if twice := repeated(names[0]):
        raise UserError(
            f'{train_file}: expected unique category names, got {twice[0]!r} twice; '
            'rename or merge them'
        )
    masks = [bool(a.get('segmentation')) for file in files for a in file.annotations]
    if any(masks) and not all(masks):
        raise UserError(
            f'{train_file}, {val_file}: expected a segmentation in every annotation or in none, '
            f'got {sum(masks)} of {len(masks)}; complete them, or remove them all to train '
            'boxes only'
        )
    annotated = {annotation['image_id'] for annotation in train.annotations}
    annotated &= {image['id'] for image in train.images}
    return OwnCoco(names[0], all(masks), len(annotated), len(train.images), len(val.images))


def _read(path: str, images: str) -> CocoFile:
    file = read_coco(path)
    for name in ('images', 'annotations', 'categories'):
        if not getattr(file, name):
            lacking = next(iter(file.incomplete[name].items()), None)
            detail = f'{lacking[0]} lacks {", ".join(lacking[1])}' if lacking else 'an empty list'
            raise UserError(f'{file.path}: expected {name}, got {detail}; complete the file')
    if not Path(images).is_dir():
        raise UserError(f'{images}: expected a folder of images, found none; correct the path')
    first = file.images[0]['file_name']
    if not any(Path(images, str(image['file_name'])).is_file() for image in file.images[:100]):
        raise UserError(
            f'{images}: expected the images of {file.path}, such as {first}, found none of the '
            'first 100; give the folder to which its file_names are relative'
        )
    return file
