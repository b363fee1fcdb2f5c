"""A backbone under the classifier of the ConvNeXt papers."""

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

    The state dict has the official classifier's names, those of the body below ``backbone.``.

    ``forward`` takes ``inputs``, (N, C, H, W), and by its ``mode`` gives the logits,
    (N, num_classes) (``'tensor'``); ``dict(loss=…)`` (``'loss'``); or the data samples with
    ``pred_score``, (num_classes,) probabilities in float32, and ``pred_label``, (1,)
    (``'predict'``). A data sample is a ``BaseDataElement`` with ``gt_label``, (1,) int64.

    Args:
        backbone: Config of a backbone, of which the last map is pooled. One with
            ``take_last_norm`` hands over the norm of that map, which is applied after the pooling
            as in the papers; any other's map is pooled as it comes, without a norm.
        num_classes: Classes.
        in_channels: Channels of the last map; by default the backbone's ``channels[-1]``.
        label_smoothing: Part of the target that is spread over all classes.
        head_init_scale: Factor on the head's drawn weights; official fine-tuning takes 1e-3.
        mixing: Options of timm's mixup and cutmix for training, such as
            ``dict(mixup_alpha=0.8, cutmix_alpha=1.0)``; None for no mixing. Needs timm, but only
            in training.
        data_preprocessor: Config; mmengine's ``ImgDataPreprocessor``, as a rule.
        init_cfg: ``dict(type='Pretrained', checkpoint=FILE or URL)`` loads a whole classifier of
            any family strictly, with ``ema`` and ``sha256`` as in
            :func:`~mmconvnext.checkpoints.load.load`. For other classes give the
            backbone an ``init_cfg`` instead: the head is then drawn, and the norm comes from the
            file, as in the official fine-tuning. None draws truncated normal weights, σ = .02.

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
        """Draw the weights, or load the files that the ``init_cfg`` entries name.

        Raises:
            ArgumentError: an entry names no checkpoint, or an option that is not known.
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
        """What the head sees: the last map's mean, normalised, (N, channels)."""
        outputs = self.backbone(inputs)
        last = outputs if isinstance(outputs, Tensor) else outputs[-1]
        # The norm is one of maps, here of 1 × 1.
        return self.norm(last.mean((2, 3), keepdim=True)).flatten(1)

    def classify(self, inputs: Tensor) -> Tensor:
        """Logits, (N, num_classes)."""
        return self.head(self.extract_feat(inputs))

    def loss(self, inputs: Tensor, data_samples: Sequence[BaseDataElement]) -> dict[str, Tensor]:
        """Cross entropy with label smoothing; of mixed images against mixed labels.

        Raises:
            ArgumentError: images cannot be mixed, for want of timm or of an even number.
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
        # timm has the smoothing in its targets, and writes into what it is given.
        mixed, targets = self._mix(inputs.clone(), labels)
        return {'loss': F.cross_entropy(self.classify(mixed), targets)}

    def predict(
        self, inputs: Tensor, data_samples: Sequence[BaseDataElement] | None = None
    ) -> list[BaseDataElement]:
        """Data samples with ``pred_score`` and ``pred_label``; new ones where none are given."""
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
            'which does not tell them; give in_channels'
        )
    return channels[-1]
