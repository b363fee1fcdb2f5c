"""Try what a training would fail on: images of several sizes in a batch, and batch norms."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

from mmconvnext.config_types import nested_dicts, wrapped_datasets
from mmconvnext.errors import UserError, first_line
from mmconvnext.preflight.configured import ConfiguredDataset
from mmconvnext.preflight.findings import Findings
from mmconvnext.preflight.pictures import size_text
from mmconvnext.preflight.read_files import Facts
from mmconvnext.runner.batch_norm import require_values_to_normalise
from mmconvnext.runner.building import building
from mmconvnext.runner.training_data import require_batches

_SMALLEST = 32  # pixels: the stride of ConvNeXt's last stage


def check_batches(
    config: Config, dataset: ConfiguredDataset, facts: Sequence[Facts], findings: Findings
) -> None:
    """Report images of several sizes that cannot be stacked, or are too small for the backbone.

    The narrowest, widest, lowest and highest image go through the pipeline and are stacked, as a
    data loader and a segmentor do. ConvNeXt needs 32 × 32 pixels after that. With a batch of one
    image, or one size, only the latter is tried, where an image is smaller.

    For mmseg only: mmdet's preprocessors pad images of any size.
    """
    loader = f'{dataset.split}_dataloader'
    number = config[loader].get('batch_size', 1)
    tried = _extremes(facts)
    if number < 2 or len(tried) < 2:  # nothing to stack
        tried = [fact for fact in tried if min(fact.size or (0,)) < _SMALLEST][:1]
    if not tried:
        return
    with _quiet(config):
        try:
            load = Compose(dataset.config.pipeline)
            batch = pseudo_collate([load(_entry(dataset, fact)) for fact in tried])
            preprocessor = MODELS.build(config.model.data_preprocessor)
        except Exception:  # other findings name bad files
            return
        try:
            stacked = preprocessor(batch, dataset.split == 'train')['inputs']
        except (AssertionError, RuntimeError):
            sizes = ' and '.join(size_text(fact.size or ()) for fact in tried[:2])
            remedy = 'a Resize'
            if dataset.split == 'train':
                remedy = 'a RandomCrop of model.data_preprocessor.size'
            findings.error(
                'sizes in a batch',
                f'{loader}: expected images of one size in a batch of {number}, got others from '
                f'images of {sizes}; add {remedy} to its pipeline, or set batch_size=1',
            )
            return
    got = stacked.shape[2:]
    if min(got) < _SMALLEST and config.model.backbone.type == 'mmconvnext.ConvNeXt':
        findings.error(
            'small images',
            f'{loader}: expected {_SMALLEST} × {_SMALLEST} pixels or more after the pipeline, got '
            f'{size_text(got[::-1])}; add a Resize to its pipeline, or remove such images',
            [tried[0].image],
        )


def _entry(dataset: ConfiguredDataset, fact: Facts) -> dict:
    """Return an entry of mmseg's ``load_data_list``, which is slow for many images."""
    return dict(
        img_path=fact.image,
        seg_map_path=fact.labels,
        label_map=dataset.built.label_map,
        reduce_zero_label=dataset.built.reduce_zero_label,
        seg_fields=[],
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


def _extremes(facts: Sequence[Facts]) -> list[Facts]:
    """Return the narrowest, widest, lowest and highest images, each once."""
    sizes = {fact.size: fact for fact in facts if fact.size}
    if not sizes:
        return []
    ends = [some(sizes, key=lambda size: size[axis]) for axis in (0, 1) for some in (min, max)]
    return [sizes[size] for size in dict.fromkeys(ends)]


def check_parts(config: Config, findings: Findings) -> None:
    """Check that the model and the steps of the pipelines can be built."""
    parts = [('model', partial(MODELS.build, config.model))]
    for split in ('train', 'val', 'test'):
        given = (config.get(f'{split}_dataloader') or {}).get('dataset') or {}
        for dataset in wrapped_datasets(given):
            build = partial(Compose, dataset.get('pipeline') or [])
            parts.append((f'{split}_dataloader.dataset.pipeline', build))
    for key, build in parts:
        try:
            with _quiet(config), building(key):
                build()
        except UserError as error:
            findings.of_split(key.split('_')[0]).error('not built', f'{key}: {error}')


def check_run(config: Config, findings: Findings) -> None:
    """Check that an epoch has a batch, and that batch norms get several values per channel.

    For the latter the loss of an image is computed, if a batch may have a single image. SyncBN is
    only a warning: the number of processes is unknown.
    """
    loader, loop = config.get('train_dataloader') or {}, config.get('train_cfg') or {}
    types = {str(one.get('type')) for one in nested_dicts(config.get('model'))}
    norms = types & {'BN', 'BN2d', 'SyncBN'}
    drops, by_epoch = loader.get('drop_last'), loop.get('by_epoch') or 'max_epochs' in loop
    single = loader.get('batch_size', 1) == 1 or (by_epoch and not drops)
    if not (by_epoch and drops) and not (norms and single):
        return
    findings = findings.of_split('train')
    without_workers = {'num_workers': 0, 'persistent_workers': False, 'prefetch_factor': None}
    try:
        with _quiet(config):
            data = Runner.build_dataloader({**loader, **without_workers})
            require_batches(data)
            if norms and single:
                iterations = loop.get('max_iters') or loop.get('max_epochs', 1) * len(data)
                require_values_to_normalise(MODELS.build(config.model), data, iterations)
    except UserError as error:
        level = 'warning' if norms == {'SyncBN'} and single else 'error'
        findings.add(level, 'batches', str(error))
    except Exception as error:  # building and running a model may raise anything
        findings.warning(
            'batches',
            f'a batch of one image could not be tried ({type(error).__name__}: '
            f'{first_line(error)}); set train_dataloader.batch_size to 2 or more',
        )
