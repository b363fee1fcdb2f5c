"""A backbone with the classifier of the ConvNeXt papers."""

from collections.abc import Callable, Mapping, Sequence

import torch
from mmengine.model import BaseModel
from mmengine.model.weight_init import PretrainedInit
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn import functional as F

from mmconvnext.checkpoints.load import load, read_init_cfg
from mmconvnext.classification.timm_augmentation import MIXING_OPTIONS, build_mixing
from mmconvnext.errors import ArgumentError
from mmconvnext.registry import MODELS


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """Backbone → mean over the last map → LayerNorm → linear layer.

    The state dict has the official classifier's names; the backbone's are below ``backbone.``.

    ``forward`` takes ``inputs``, (N, C, H, W), and returns by ``mode``:

    - ``'tensor'``: the logits, (N, num_classes);
    - ``'loss'``: ``dict(loss=…)``;
    - ``'predict'``: the data samples with ``pred_score``, (num_classes,) probabilities in
      float32, and ``pred_label``, (1,).

    A data sample is a ``BaseDataElement`` with ``gt_label``, (1,) int64.

    Args:
        backbone: Config of a backbone, whose last map is pooled. If the backbone has
            ``take_last_norm``, the norm of that map is applied after the pooling, as in the papers;
            otherwise there is no norm after the pooling.
        num_classes: Number of classes.
        in_channels: Channels of the last map; by default the backbone's ``channels[-1]``.
        label_smoothing: Fraction of the target that is spread over all classes.
        head_init_scale: Factor on the head's initial weights; official fine-tuning uses 1e-3.
        mixing: Options of timm's mixup and cutmix for training, such as
            ``dict(mixup_alpha=0.8, cutmix_alpha=1.0)``; None disables mixing. timm is needed only
            for training.
        data_preprocessor: Config, usually of mmengine's ``ImgDataPreprocessor``.
        init_cfg: ``dict(type='Pretrained', checkpoint=FILE or URL)`` loads a whole classifier of
            any family strictly, with ``ema`` and ``sha256`` as in
            :func:`~mmconvnext.checkpoints.load.load`. For other classes set the backbone's
            ``init_cfg`` instead: the head is then initialised randomly, and the norm is loaded, as
            in the official fine-tuning. None draws truncated normal weights, σ = .02.

    Raises:
        ArgumentError: (a ValueError) an argument is not one of the above.

    Source: facebookresearch/ConvNeXt @048efce, models/convnext.py, engine.py.
    """

    def __init__(
        self,
        backbone: dict,
        num_classes: int = 1000,
        in_channels: int | None = None,
        label_smoothing: float = 0.0,
        head_init_scale: float = 1.0,
        mixing: dict | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if num_classes < 1:
            raise ArgumentError(f'num_classes: expected 1 or more, got {num_classes}')
        if not 0 <= label_smoothing < 1:
            raise ArgumentError(f'label_smoothing: expected [0, 1), got {label_smoothing}')
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        if mixing is not None and (
            not isinstance(mixing, Mapping) or set(mixing) - set(MIXING_OPTIONS) or not mixing
        ):
            raise ArgumentError(
                f'mixing: expected None or a dict of {", ".join(MIXING_OPTIONS)}, got {mixing!r}'
            )
        self.mixing = mixing
        self._mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
        self.backbone = MODELS.build(backbone)
        self.norm = getattr(self.backbone, 'take_last_norm', nn.Identity)()
        self.head = nn.Linear(in_channels or _channels(self.backbone), num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        with torch.no_grad():
            self.head.weight.mul_(head_init_scale)
        nn.init.zeros_(self.head.bias)

    def init_weights(self) -> None:
        """Initialise the weights randomly, or load the files that the ``init_cfg`` entries name.

        Raises:
            ArgumentError: an entry has no checkpoint, or an unknown option.
            CheckpointError: a file is missing, unsafe, or does not fit.
        """
        configs = self.init_cfg if isinstance(self.init_cfg, list) else [self.init_cfg]
        pretrained = [c for c in configs if c and c['type'] in ('Pretrained', PretrainedInit)]
        if self._is_init or not pretrained:
            super().init_weights()
            return
        checkpoint, options = read_init_cfg(pretrained[-1], ('ema', 'sha256'))
        load(self, checkpoint, whole=True, **options)
        self._is_init: bool = True

    def forward(
        self,
        inputs: Tensor,
        data_samples: Sequence[BaseDataElement] | None = None,
        mode: str = 'tensor',
    ) -> Tensor | dict[str, Tensor] | list[BaseDataElement]:
        if mode == 'tensor':
            return self.classify(inputs)
        if mode == 'loss':
            return self.loss(inputs, data_samples or ())
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        raise ArgumentError(f"mode: expected 'tensor', 'loss' or 'predict', got {mode!r}")

    def extract_feat(self, inputs: Tensor) -> Tensor:
        """Return the head's input: the last map's mean, normalised, (N, channels)."""
        outputs = self.backbone(inputs)
        last = outputs if isinstance(outputs, Tensor) else outputs[-1]
        # The norm expects maps: here they are 1 × 1.
        return self.norm(last.mean((2, 3), keepdim=True)).flatten(1)

    def classify(self, inputs: Tensor) -> Tensor:
        """Return the logits, (N, num_classes)."""
        return self.head(self.extract_feat(inputs))

    def loss(self, inputs: Tensor, data_samples: Sequence[BaseDataElement]) -> dict[str, Tensor]:
        """Return the cross entropy with label smoothing, with mixed images and labels if enabled.

        Raises:
            ArgumentError: images cannot be mixed: timm is missing or the batch size is odd.
        """
        labels = torch.cat([sample.gt_label for sample in data_samples])
        if not self.mixing:
            logits = self.classify(inputs)
            loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
            return {'loss': loss}
        if len(inputs) % 2:
            raise ArgumentError(
                f'mixing: expected an even number of images in a batch, got {len(inputs)}; '
                'set an even train_dataloader.batch_size and drop_last=True'
            )
        if self._mix is None:
            self._mix = build_mixing(self.mixing, self.num_classes, self.label_smoothing)
        # timm's targets include the smoothing; it changes its arguments in place.
        mixed, targets = self._mix(inputs.clone(), labels)
        return {'loss': F.cross_entropy(self.classify(mixed), targets)}

    def predict(
        self, inputs: Tensor, data_samples: Sequence[BaseDataElement] | None = None
    ) -> list[BaseDataElement]:
        """Return the data samples, or new ones, with ``pred_score`` and ``pred_label``."""
        scores = self.classify(inputs).float().softmax(1)
        samples = data_samples or [BaseDataElement() for _ in scores]
        for sample, score, label in zip(samples, scores, scores.argmax(1, keepdim=True)):
            sample.pred_score = score
            sample.pred_label = label
        return list(samples)


def _channels(backbone: nn.Module) -> int:
    channels = getattr(backbone, 'channels', None)
    if not channels:
        raise ArgumentError(
            f'in_channels: expected the channels of the last map of {type(backbone).__name__}, '
            'which has no attribute channels; set in_channels'
        )
    return channels[-1]
