"""Try what a training would fail on: batches of images of other sizes, and batch norms."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import Runner

from mmconvnext.config_types import nested_dicts
from mmconvnext.errors import UserError
from mmconvnext.preflight.configured import ConfiguredDataset
from mmconvnext.preflight.findings import Findings
from mmconvnext.preflight.pictures import size_text
from mmconvnext.preflight.read_files import Facts
from mmconvnext.runner.batch_norm import require_values_to_normalise


def check_batches(
    config: Config, dataset: ConfiguredDataset, facts: Sequence[Facts], findings: Findings
) -> None:
    """Stack the smallest and the largest images, as a data loader and a segmentor do.

    ``facts`` are in the order of the dataset. mmdet's preprocessors pad images of any size.
    """
    loader = f'{dataset.split}_dataloader'
    number = config[loader].get('batch_size', 1)
    places = _extremes(facts)
    if number < 2 or len(places) < 2:
        return
    with _quiet(config):
        try:
            built = DATASETS.build(dataset.config)
            batch = pseudo_collate([built[place] for place in places])
            preprocessor = MODELS.build(config.model.data_preprocessor)
        except Exception:  # other findings name bad files
            return
        try:
            preprocessor(batch, dataset.split == 'train')
        except (AssertionError, RuntimeError):
            sizes = ' and '.join(size_text(facts[place].size or ()) for place in places[:2])
            remedy = 'a Resize'
            if dataset.split == 'train':
                remedy = 'a RandomCrop of model.data_preprocessor.size'
            findings.error(
                'sizes in a batch',
                f'{loader}: expected images of one size in a batch of {number}, got others from '
                f'images of {sizes}; add {remedy} to its pipeline, or set batch_size=1',
            )


@contextmanager
def _quiet(config: Config) -> Iterator[None]:
    """Build in the config's scope, without the warnings that the run gives again."""
    with (
        DefaultScope.overwrite_default_scope(config.get('default_scope')),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter('ignore')
        yield


def _extremes(facts: Sequence[Facts]) -> list[int]:
    """Return where the lowest, highest, narrowest and widest images are, if sizes differ."""
    sizes = {fact.size: place for place, fact in enumerate(facts) if fact.size}
    if len(sizes) < 2:
        return []
    ends = [some(sizes, key=lambda size: size[axis]) for axis in (0, 1) for some in (min, max)]
    return [sizes[size] for size in dict.fromkeys(ends)]


def check_norms(config: Config, findings: Findings) -> None:
    """Compute the loss of one image if batch norms could get a single value per channel.

    SyncBN is only a warning: the number of processes is unknown.
    """
    loader, loop = config.get('train_dataloader') or {}, config.get('train_cfg') or {}
    types = {str(one.get('type')) for one in nested_dicts(config.get('model'))}
    norms = {kind for kind in types if kind in ('BN', 'BN2d', 'SyncBN')}
    by_epoch = loop.get('by_epoch') or 'max_epochs' in loop
    if not norms or (loader.get('batch_size', 1) > 1 and (loader.get('drop_last') or not by_epoch)):
        return
    without_workers = {'num_workers': 0, 'persistent_workers': False, 'prefetch_factor': None}
    try:
        with _quiet(config):
            data = Runner.build_dataloader({**loader, **without_workers})
            model = MODELS.build(config.model)
            iterations = loop.get('max_iters') or loop.get('max_epochs', 1) * len(data)
            require_values_to_normalise(model, data, iterations)
    except UserError as error:
        level = 'warning' if norms == {'SyncBN'} else 'error'
        findings.of_split('model').add(level, 'batch norm', str(error))
    except Exception as error:  # building and running a model may raise anything
        findings.of_split('model').warning(
            'batch norm',
            'whether batch norms get more than one value per channel could not be tried '
            f'({type(error).__name__}); set train_dataloader.batch_size to 2 or more',
        )
