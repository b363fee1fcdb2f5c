"""Name files of data that cannot be used, instead of ending in another library's traceback."""

from importlib import import_module

from mmengine.config import Config

from mmconvnext.data.empty_datasets import name_empty_datasets
from mmconvnext.data.images import name_unreadable_images

# By name: mmseg and mmdet are imported only where they are used.
_OF_SCOPE = {'mmseg': 'mmconvnext.segmentation.loading', 'mmdet': 'mmconvnext.detection.loading'}


def name_unusable_files(config: Config) -> None:
    """Make the datasets and transforms of a config raise UserError for files they cannot use."""
    name_empty_datasets()
    name_unreadable_images()
    if module := _OF_SCOPE.get(config.get('default_scope', '')):
        import_module(module).name_unusable_files()
