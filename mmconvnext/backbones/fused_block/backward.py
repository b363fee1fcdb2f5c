"""The block's backward pass."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from mmconvnext.backbones.fused_block.depthwise import depthwise_input_grad, depthwise_weight_grad
from mmconvnext.backbones.fused_block.forward import Kept
from mmconvnext.backbones.fused_block.linear import linear
from mmconvnext.backbones.fused_block.parts import Part, by_pixel, groups_of_parts
from mmconvnext.backbones.fused_block.weights import (
    BlockSettings,
    BlockWeights,
    exact,
    shifted_bias,
)


class _Sums(NamedTuple):
    """Sums over pixels, in float32 or more, from which the parameter gradients are computed."""

    cross: Tensor  # (C, 4C), the output's gradient times the second linear layer's input
    expand: Tensor  # (4C, C)
    expand_bias: Tensor  # (4C,)
    norm: Tensor | None  # (C,)
    norm_bias: Tensor | None  # (C,)
    grn_gamma: Tensor | None  # (4C,)

    @classmethod
    def zeros(cls, weights: BlockWeights) -> Self:
        names = ('project', 'expand', 'expand_bias', 'norm', 'norm_bias', 'grn_gamma')
        own = (getattr(weights, name) for name in names)
        return cls._make(w if w is None else torch.zeros_like(w, dtype=exact(w.dtype)) for w in own)


class BackwardPass:
    """Computes a block's gradients from its output's gradient; ``needs`` selects parameters."""

    def __init__(
        self, kept: Kept, weights: BlockWeights, settings: BlockSettings, needs: BlockWeights
    ) -> None:
        self.kept = kept
        self.weights = weights
        self.settings = settings
        self.needs = needs
        self.sums = _Sums.zeros(weights)
        self.scale = weights.branch_scale(settings)
        low = kept.x.dtype
        self.folds = weights.folds_scale(low)
        # The transposed weights, as views: oneDNN reads them without a copy.
        project = weights.project * self.scale[:, None] if self.folds else weights.project
        self.project = project.to(low).t()
        self.expand = weights.expand.to(low).t()

    def __call__(self, grad: Tensor, needs_x: bool) -> tuple[Tensor | None, list[Tensor | None]]:
        """Return the gradients of the input, (N, H, W, C), and of each parameter, or None."""
        kept = self.settings.kept
        upper = grad if kept is None else grad.index_select(0, kept)
        if not len(upper):
            # Parameters get a gradient even if all samples were dropped: DistributedDataParallel
            # waits for it, and weight decay applies to them.
            wanted: Any = zip(self.weights, self.needs)
            return grad, [torch.zeros_like(weight) if need else None for weight, need in wanted]
        scaled = upper if self.folds else upper * self.scale
        grad_depthwise = self._through_pointwise(scaled.to(self.kept.x.dtype))
        grads = self._parameter_grads(upper, grad_depthwise)
        if not needs_x:
            return None, grads
        change = self._through_depthwise(grad_depthwise)
        if kept is None:
            return grad + change, grads
        return grad.clone().index_add_(0, kept, change.to(grad.dtype)), grads

    def _through_pointwise(self, grad: Tensor) -> Tensor:
        """Return the gradient of the depthwise convolution's output, (K, H, W, C); add to sums."""
        with_grn = self.weights.with_grn()
        through_projection = self._through_grn if with_grn else self._through_projection
        grad = by_pixel(grad, with_grn)
        depthwise = by_pixel(self.kept.depthwise, with_grn)
        out = torch.empty_like(depthwise)
        hidden = iter(self.kept.hidden)
        for group in groups_of_parts(depthwise, len(self.weights.expand)):
            values = [next(hidden) for _ in group]
            for part, before, upper in zip(group, values, through_projection(grad, group, values)):
                torch.ops.aten.gelu_backward.grad_input(upper, before, grad_input=upper)
                part.rows(out).copy_(self._through_expansion(upper, part.rows(depthwise)))
        return out.view(self.kept.depthwise.shape)

    def _through_projection(
        self, grad: Tensor, group: list[Part], hidden: list[Tensor]
    ) -> Iterator[Tensor]:
        """Yield the gradient of GELU's output, (P, 4C), part by part."""
        for part, before in zip(group, hidden):
            rows = part.rows(grad)
            _add_product(self.sums.cross, rows.t(), F.gelu(before))
            yield linear(rows, self.project)

    def _through_grn(
        self, grad: Tensor, group: list[Part], hidden: list[Tensor]
    ) -> Iterator[Tensor]:
        """Like :meth:`_through_projection`, with Global Response Normalization."""
        active = [F.gelu(before) for before in hidden]
        uppers = [linear(part.rows(grad), self.project) for part in group]
        assert self.kept.norms is not None
        norms = self.kept.norms[group[0].samples]
        of_response: Any = sum(
            part.by_sample(values * upper).sum(1, dtype=norms.dtype)
            for part, values, upper in zip(group, active, uppers)
        )
        of_norms = self._through_response(of_response, norms)[:, None]
        response = self.weights.grn_response(norms, self.settings)[:, None]
        for part, values, upper in zip(group, active, uppers):
            values = part.by_sample(values)
            # In float32, because `of_norms` is large for a channel of nearly zero norm.
            through = part.by_sample(upper).to(response.dtype).mul_(response)
            through.addcmul_(values.to(response.dtype), of_norms)
            values.mul_(response.to(values.dtype))
            _add_product(self.sums.cross, part.rows(grad).t(), values.flatten(0, 1))
            yield through.to(upper.dtype).flatten(0, 1)

    def _through_response(self, grad: Tensor, norms: Tensor) -> Tensor:
        """Return the gradient of the norms over the norms, (samples, 4C): times x, it is x's."""
        assert self.sums.grn_gamma is not None
        assert self.weights.grn_gamma is not None
        divisor = norms.mean(1, keepdim=True) + self.settings.grn_eps
        relative = norms / divisor
        self.sums.grn_gamma.add_((grad * relative).sum(0))
        grad = grad * self.weights.grn_gamma / divisor
        grad = grad - (grad * relative).mean(1, keepdim=True)
        return torch.where(norms > 0, grad / norms, 0)

    def _through_expansion(self, grad: Tensor, x: Tensor) -> Tensor:
        """Backpropagate through the first linear layer and LayerNorm: (P, 4C) → (P, C)."""
        normed, mean, rstd = self.weights.normalize(x, self.settings)
        _add_product(self.sums.expand, grad.t(), normed)
        self.sums.expand_bias.add_(grad.sum(0))
        dtype = exact(x.dtype)
        upper, affine = linear(grad, self.expand).to(dtype), self.weights.norm_affine(dtype)
        wanted = [True, *(parameter is not None for parameter in affine)]
        grad_x, of_weight, of_bias = torch.ops.aten.native_layer_norm_backward(
            upper, x.to(dtype), x.shape[1:], mean, rstd, *affine, wanted
        )
        if self.sums.norm is not None and self.sums.norm_bias is not None:
            self.sums.norm.add_(of_weight)
            self.sums.norm_bias.add_(of_bias)
        return grad_x

    def _through_depthwise(self, grad: Tensor) -> Tensor:
        """Return the gradient of the depthwise convolution's input, (K, H, W, C)."""
        x, grad = self.kept.x.permute(0, 3, 1, 2), grad.permute(0, 3, 1, 2)
        kernel = self.weights.depthwise.to(grad.dtype)
        return depthwise_input_grad(x, grad, kernel).permute(0, 2, 3, 1)

    def _parameter_grads(self, grad: Tensor, grad_depthwise: Tensor) -> list[Tensor | None]:
        total = grad.sum((0, 1, 2), dtype=exact(grad.dtype))
        of_depthwise: Any = self._depthwise_grad(grad_depthwise) if self.needs.depthwise else None
        grads = BlockWeights(
            depthwise=of_depthwise,
            depthwise_bias=grad_depthwise.sum((0, 1, 2), dtype=exact(grad.dtype)),
            norm=self.sums.norm,
            norm_bias=self.sums.norm_bias,
            expand=self.sums.expand,
            expand_bias=self.sums.expand_bias,
            project=self._project_grad(total),
            project_bias=total * self.scale,
            gamma=self._gamma_grad(grad, total) if self.needs.gamma else None,
            grn_gamma=self.sums.grn_gamma,
            grn_beta=self._beta_grad(total) if self.needs.grn_beta else None,
        )
        needed: Any = zip(grads, self.weights, self.needs)
        return [grad.to(weight.dtype) if need else None for grad, weight, need in needed]

    def _depthwise_grad(self, grad: Tensor) -> Tensor:
        x, grad = self.kept.x.permute(0, 3, 1, 2), grad.permute(0, 3, 1, 2)
        return depthwise_weight_grad(x, grad, self.weights.depthwise.shape[-1])

    def _project_grad(self, total: Tensor) -> Tensor:
        grad = self.sums.cross * self.scale[:, None] if self.folds else self.sums.cross
        if self.weights.grn_beta is None:
            return grad
        # The sum does not include GRN's shift.
        return torch.addr(grad, total * self.scale, self.weights.grn_beta.to(total.dtype))

    def _gamma_grad(self, grad: Tensor, total: Tensor) -> Tensor:
        if self.folds:
            branch = (self.sums.cross * self.weights.project).sum(1)
        else:
            kept = torch.cat(list(self.kept.branch)).view(grad.shape)
            branch = (grad * kept).sum((0, 1, 2), dtype=total.dtype)
        return (branch + total * shifted_bias(self.weights)) * self.settings.scale

    def _beta_grad(self, total: Tensor) -> Tensor:
        scaled = (total * self.scale).to(self.weights.project.dtype)
        return scaled @ self.weights.project


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total.add_(a @ b)
