"""Images in one folder per class, as in ImageNet."""

import os
from collections.abc import Mapping
from pathlib import Path

from mmengine.dataset import BaseDataset

from mmconvnext.data.class_folders import ENDINGS, class_folders, image_names, read_class_names
from mmconvnext.errors import ArgumentError
from mmconvnext.registry import DATASETS


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """``ROOT/PREFIX/CLASS/NAME.jpg``; the class folders, sorted by name, are labels 0, 1, ….

    Hidden files and folders are ignored, and files without the ending of an image.

    Args:
        data_root: Folder of the data.
        data_prefix: ``dict(img_path=…)``, the folder that contains the class folders.
        class_names: Text file with one class per line, ``FOLDER NAME[, SYNONYM…]``, like
            ImageNet's LOC_synset_mapping.txt; relative to ``data_root``. Its sorted folders define
            the labels, even if some are missing from the data. Without it, the folders' names are
            the classes' names.

    Raises:
        ArgumentError: (a ValueError) a folder or the file does not exist, there are no class
            folders, a class folder has no image or is not in the file, or ``metainfo`` has another
            number of classes.
    """

    def __init__(
        self,
        data_root: str = '',
        data_prefix: Mapping[str, str] | None = None,
        class_names: str | None = None,
        lazy_init: bool = False,
        **options: object,
    ) -> None:
        prefix = dict(img_path='train') if data_prefix is None else dict(data_prefix)
        super().__init__(data_root=data_root, data_prefix=prefix, lazy_init=True, **options)
        if 'img_path' not in self.data_prefix:
            raise ArgumentError(f'data_prefix: expected dict(img_path=…), got {prefix}')
        folders = class_folders(self.data_prefix['img_path'])
        names = {folder: folder for folder in folders}
        if class_names is not None:
            names = read_class_names(Path(self.data_root, class_names))
            if unknown := [folder for folder in folders if folder not in names]:
                raise ArgumentError(
                    f'{self.data_prefix["img_path"]}: expected the classes of {class_names}, got '
                    f'{len(unknown)} others: {", ".join(unknown[:3])}; take another file or folder'
                )
        self._labels = {folder: label for label, folder in enumerate(sorted(names))}
        given = self._metainfo.get('classes')
        if given is not None and len(given) != len(names):
            raise ArgumentError(
                f'metainfo: expected {len(names)} classes, as many as there are folders in '
                f'{self.data_prefix["img_path"]}, got {len(given)}'
            )
        self._metainfo.setdefault('classes', tuple(names[folder] for folder in self._labels))
        if not lazy_init:
            self.full_init()

    def load_data_list(self) -> list[dict]:
        """Return the path and label of each image."""
        root, found = self.data_prefix['img_path'], []
        for folder in class_folders(root):
            label, place = self._labels[folder], os.path.join(root, folder)
            names = sorted(image_names(place))
            if not names:
                raise ArgumentError(
                    f'{place}: expected images ({", ".join(ENDINGS)}), found none; fill the '
                    'class folder, or remove it from every split'
                )
            found += [{'img_path': os.path.join(place, n), 'gt_label': label} for n in names]
        return found
