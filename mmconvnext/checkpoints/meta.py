"""What stands beside the weights in a checkpoint: classes, palette, config."""

from collections.abc import Mapping


def find_meta(content: object) -> Mapping:
    """The ``meta`` in a checkpoint's content; an empty one where there is none."""
    meta = content.get('meta') if isinstance(content, Mapping) else None
    return meta if isinstance(meta, Mapping) else {}


def described(meta: Mapping) -> dict[str, object]:
    """What a ``meta``, as any version of OpenMMLab writes it, says of its model.

    Those of ``classes`` (names), ``palette`` (RGB, one for each class) and ``cfg`` (text of the
    config, which is Python: not to be run where the file is not trusted) that are there.
    """
    dataset = meta.get('dataset_meta')
    dataset = dataset if isinstance(dataset, Mapping) else {}
    found = {
        'classes': dataset.get('classes', meta.get('CLASSES')),
        'palette': dataset.get('palette', meta.get('PALETTE')),
        'cfg': meta.get('cfg', meta.get('config')),  # mmcv 1 wrote `config`
    }
    # A palette may be an array.
    plain = {key: v.tolist() if hasattr(v, 'tolist') else v for key, v in found.items()}
    return {key: value for key, value in plain.items() if value}
