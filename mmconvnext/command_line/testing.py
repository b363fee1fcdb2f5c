"""Apply the options of a test to a config, in place."""

from pathlib import Path

from mmengine.config import Config, ConfigDict

from mmconvnext.data.checks import evaluators
from mmconvnext.errors import UserError
from mmconvnext.files import make_folder


def set_tta(config: Config) -> None:
    """Test with augmentation, by the config's ``tta_model`` and ``tta_pipeline``.

    Raises:
        UserError: the config does not have both.
    """
    if missing := [name for name in ('tta_model', 'tta_pipeline') if name not in config]:
        raise UserError(f'--tta: expected {" and ".join(missing)} in the config, found none')
    config.test_dataloader.dataset.pipeline = config.tta_pipeline
    config.model = ConfigDict(**config.tta_model, module=config.model)


def set_deploy(config: Config) -> None:
    """Test the model in its deploy form."""
    config.custom_hooks = [*config.get('custom_hooks', []), dict(type='mmconvnext.DeployHook')]


def set_image_folder(config: Config, folder: str) -> None:
    """Write an image of every prediction.

    Raises:
        UserError: the config's visualization hook is of an unknown type.
    """
    hook = config.get('default_hooks', {}).get('visualization') or {}
    folder_option = {
        'mmconvnext.DetectionPictureHook': 'out_dir',
        'mmconvnext.SegmentationPictureHook': 'out_dir',
        'DetVisualizationHook': 'test_out_dir',
        'mmdet.DetVisualizationHook': 'test_out_dir',
    }.get(hook.get('type', ''))
    if folder_option is None:
        raise UserError(
            '--show-dir: expected default_hooks.visualization of type '
            'mmconvnext.SegmentationPictureHook, mmconvnext.DetectionPictureHook or '
            f'DetVisualizationHook, got {hook.get("type")}'
        )
    make_folder('--show-dir', Path(folder))
    hook.update({'draw': True, folder_option: str(Path(folder).absolute())})


def set_predictions(config: Config, out: str) -> None:
    """Write the predictions: a pickle file if ``out`` ends in .pkl, else files in a folder.

    A folder gets one label map (PNG) per image from IoUMetric, with ids as in the annotations, or
    COCO json files from CocoMetric.

    Raises:
        UserError: no metric of the config can write predictions.
    """
    pickled = out.endswith(('.pkl', '.pickle'))
    make_folder('--out', Path(out).parent if pickled else Path(out))
    metrics = evaluators(config, 'test')
    if pickled:
        detection = config.get('default_scope') == 'mmdet'
        kind = 'mmdet.DumpDetResults' if detection else 'DumpResults'
        config.test_evaluator = [*metrics, ConfigDict(type=kind, out_file_path=out)]
        return
    for evaluator in metrics:
        kind = evaluator.type.split('.')[-1]
        if kind == 'IoUMetric':
            evaluator.output_dir = out
            return
        if kind == 'CocoMetric':
            evaluator.outfile_prefix = str(Path(out) / 'predictions')
            return
    raise UserError('--out: expected IoUMetric or CocoMetric as test_evaluator, or a .pkl file')
