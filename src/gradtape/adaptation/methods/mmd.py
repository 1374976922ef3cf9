"""Maximum mean discrepancy, of the features alone or of features and predictions together."""

from __future__ import annotations

import torch
from torch import Tensor

from gradtape.adaptation.methods._base import Method, Seen

_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the kernels, in mean squared distances


class MMD(Method):
    """The mean embeddings of both domains' features, under several Gaussian kernels at once, are brought together.

    ``mean k(z, z') + mean k(w, w') - 2 mean k(z, w)`` over all pairs within the source, within the target and across,
    with ``k = mean over c of exp(-‖z - w‖² / (c · s))``, c of 1/4, 1/2, 1, 2 and 4 and s the mean squared distance
    of all pairs of rows, which is not adapted through. A row's pair with itself counts, so the value is never below 0.

    Args:
        features: ``features(x) -> (n, d)``.
        head: ``(n, d) -> (n, k)``.

    Examples:
        >>> method = MMD(torch.nn.Identity(), torch.nn.Linear(2, 3), strength=1.0)
        >>> _ = method(torch.eye(2), torch.tensor([0, 1]), torch.eye(2).flip(0))  # the same rows
        >>> method.figures["term"]
        tensor(0.)

    Source: Long et al., Learning Transferable Features with Deep Adaptation Networks, ICML 2015; Gretton et al., A
    Kernel Two-Sample Test, JMLR 2012.
    """

    name = "mmd"
    title = "maximum mean discrepancy (MMD)"

    def term(self, seen: Seen) -> Tensor:
        """Return the squared discrepancy."""
        return _discrepancy(_kernel(self.gate(seen.source), self.gate(seen.target)), len(seen.source))


class JAN(Method):
    """The discrepancy of the joint distribution of features and predictions: that of ``MMD`` with a product of kernels.

    ``k((z, p), (w, q)) = k(z, w) · k(p, q)``, p and q being softmaxes, or the outputs themselves for regression.

    Args:
        features: ``features(x) -> (n, d)``.
        head: ``(n, d) -> (n, k)``.

    Examples:
        >>> method = JAN(torch.nn.Identity(), torch.nn.Linear(2, 3), strength=1.0)
        >>> _ = method(torch.eye(2), torch.tensor([0, 1]), torch.eye(2).flip(0))
        >>> method.figures["term"]
        tensor(0.)

    Source: Long et al., Deep Transfer Learning with Joint Adaptation Networks, ICML 2017.
    """

    name = "jan"
    title = "joint maximum mean discrepancy (JAN)"

    def term(self, seen: Seen) -> Tensor:
        """Return the squared discrepancy."""
        outputs = [self.gate(logits) for logits in (seen.source_logits, seen.target_logits)]
        if self.task == "classification":
            outputs = [torch.softmax(logits, dim=1) for logits in outputs]
        kernel = _kernel(self.gate(seen.source), self.gate(seen.target)) * _kernel(*outputs)
        return _discrepancy(kernel, len(seen.source))


def _kernel(source: Tensor, target: Tensor) -> Tensor:
    """Return the kernel of all pairs of rows of both, (n + m, n + m)."""
    z = torch.cat([source, target])
    distances = torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist").square()
    scaled = distances / distances.detach().mean().clamp_min(1e-12)
    return torch.stack([torch.exp(-scaled / width) for width in _WIDTHS]).mean(0)


def _discrepancy(kernel: Tensor, n: int) -> Tensor:
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()
