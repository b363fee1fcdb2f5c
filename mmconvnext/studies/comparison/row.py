"""One model of the comparison: what was published of it, counted and measured."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from mmconvnext.analysis.cost.complexity import Complexity, count
from mmconvnext.studies.comparison.cost import Speed
from mmconvnext.studies.comparison.families import MODELS, Backbone, with_backbone
from mmconvnext.studies.comparison.published import PublishedResult, result


@dataclass(frozen=True)
class Row:
    """A backbone in a model."""

    model: str
    backbone: Backbone
    published: PublishedResult | None
    counted: Complexity
    # By mode, ``inference`` or ``training``, as far as it was measured.
    measured: dict[str, Speed] = dataclasses.field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain values, published, counted and measured ones apart."""
        height, width = MODELS[self.model].counted
        return {
            'model': self.model,
            'backbone': self.backbone.label,
            'family': self.backbone.family,
            'size': self.backbone.size,
            'published': self.published and self.published.as_json(),
            'counted': {**self.counted._asdict(), 'height': height, 'width': width},
            'measured': {mode: dataclasses.asdict(one) for mode, one in self.measured.items()},
        }


def counted_row(model: str, config: Config, backbone: Backbone) -> Row:
    """The row of a backbone before anything is measured; a UserError where it cannot be built.

    ``config`` has the head of ``model``, one of ``MODELS``.
    """
    counted = count(with_backbone(config, backbone), *MODELS[model].counted)
    return Row(model, backbone, result(model, backbone.family, backbone.size), counted)
