"""Name datasets without images: mmengine ends in numpy's error, without the folder."""

import functools

from mmengine.dataset import BaseDataset

from mmconvnext.errors import UserError


def name_empty_datasets() -> None:
    """Make mmengine's ``BaseDataset`` raise :class:`UserError` if it has no images.

    This applies to the current process and processes forked from it; safe to call again.
    """
    serialize = BaseDataset._serialize_data
    if hasattr(serialize, '__wrapped__'):
        return

    @functools.wraps(serialize)
    def naming(self: BaseDataset) -> tuple:
        if not self.data_list:
            places = [self.ann_file, *(self.data_prefix or {}).values(), self.data_root]
            raise UserError(
                f'{next(filter(None, places), type(self).__name__)}: expected images, found none '
                f'({type(self).__name__}); correct data_prefix, img_suffix, ann_file, '
                'metainfo.classes or filter_cfg of the dataset'
            )
        return serialize(self)

    BaseDataset._serialize_data = naming
