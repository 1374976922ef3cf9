"""Synthetic data, adversarial training and gradient tracking on one recorded graph."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
