"""Whole classifiers of any family, strictly: body, last norm and head."""

from collections.abc import Mapping

from mmengine.logging import print_log
from torch import Tensor, nn

from mmconvnext.checkpoints.convert import Recognised, describe_whole, fit_shape, to_official
from mmconvnext.checkpoints.load import (
    announce_licence,
    likely_cause,
    require_finite,
    require_fit,
    require_readable,
)
from mmconvnext.checkpoints.read import find_tensors, read_checkpoint
from mmconvnext.errors import CheckpointError

_BODY = 'backbone.'
_TOP = ('norm.', 'head.')
_PARAMETERS = ('weight', 'bias')
_TO_THE_BACKBONE = (
    'to start a head of other classes from it, give it to the backbone: tools/train.py --pretrained'
)


def is_classifier(state: Mapping[str, Tensor]) -> bool:
    """Whether a model's state dict is one of ``ImageClassifier``: a backbone under a head."""
    top = {key for key in state if not key.startswith(_BODY)}
    return 'head.weight' in top and top <= {f'{part}{p}' for part in _TOP for p in _PARAMETERS}


def with_official_classifier(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A classifier's tensors by the names of ``ImageClassifier``, whatever its family.

    These are the official ones, with ``backbone.`` before the body's. What is not a ConvNeXt stays
    as it is, and so does what the family does not know.
    """
    recognised = _recognise(state)
    if recognised is None:
        return dict(state)
    kept = {key: state[key] for key in recognised.outside}
    kept |= {f'{_BODY}{key}': value for key, value in recognised.unknown.items()}
    kept |= {f'{_BODY}{key}': state[recognised.prefix + key] for key in recognised.aside}
    return kept | {
        key if key.startswith(_TOP) else f'{_BODY}{key}': value
        for key, value in recognised.state.items()
    }


def explain_misfit(target: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Why a file, its tensors named as ``target``'s, most likely does not fit it, or ''."""
    whole = describe_whole(state)
    if whole:
        return f'this is {whole}, not a classifier; {_TO_THE_BACKBONE}'
    body = likely_cause(_body(state), _body(target))
    if body:
        return body
    if 'head.weight' not in state:
        return f'it has no head that fits here; {_TO_THE_BACKBONE}'
    classes = [len(tensors['head.weight']) for tensors in (state, target)]
    if classes[0] != classes[1]:
        return (
            f'it tells {classes[0]} classes apart, the config says num_classes={classes[1]}; '
            f'{_TO_THE_BACKBONE}'
        )
    return ''


def load_classifier(
    module: nn.Module, checkpoint: str, *, ema: bool = False, sha256: str | None = None
) -> None:
    """Load a whole classifier's weights in place, every tensor accounted for.

    Args:
        module: An ``ImageClassifier``.
        checkpoint: File or URL, of any family in :mod:`mmconvnext.checkpoints.formats` or as
            tools/train.py writes it.
        ema: Take the weights averaged over training.
        sha256: SHA-256 of the file, or its beginning.

    Raises:
        CheckpointError: anything is missing, unexpected, of another shape or not finite. The
            module is unchanged then.
    """
    content = read_checkpoint(checkpoint, sha256=sha256)
    found = find_tensors(content, checkpoint, ema=ema).tensors
    require_readable(found, checkpoint)
    target = module.state_dict()
    state = {
        key: fit_shape(value, target[key].shape) if key in target else value
        for key, value in with_official_classifier(found).items()
    }
    require_fit(
        target,
        state,
        source=checkpoint,
        target_name='the classifier',
        cause=explain_misfit(target, state),
    )
    require_finite(state, checkpoint)
    recognised = _recognise(found)
    if recognised:
        announce_licence(recognised, checkpoint)
    module.load_state_dict(state)
    print_log(f'Loaded {len(state)} tensors of a classifier from {checkpoint}', logger='current')


def _recognise(state: Mapping[str, Tensor]) -> Recognised | None:
    try:
        return to_official(state, 'the classifier')
    except CheckpointError:
        return None


def _body(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(_BODY): v for k, v in state.items() if k.startswith(_BODY)}
