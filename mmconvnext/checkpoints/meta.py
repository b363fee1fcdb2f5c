"""The metadata in a checkpoint: classes, palette, config."""

from collections.abc import Mapping


def find_meta(content: object) -> Mapping:
    """Return the ``meta`` in a checkpoint's content; empty if there is none."""
    meta = content.get('meta') if isinstance(content, Mapping) else None
    return meta if isinstance(meta, Mapping) else {}


def described(meta: Mapping) -> dict[str, object]:
    """Return the model's description in a ``meta`` of any OpenMMLab version.

    The keys, if present: ``classes`` (names), ``palette`` (an RGB colour for each class) and
    ``cfg`` (the config's text, which is Python: do not run it unless you trust the file).
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
