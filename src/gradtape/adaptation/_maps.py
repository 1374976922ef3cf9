"""Maps of features: both domains in one plane, before and after."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradtape.adaptation.estimator import DomainAdapter
from gradtape.data import Table

_ROWS = 750  # of each domain


def maps_of(adapter: DomainAdapter, X: Any, y: NDArray[Any], Xt: Any) -> tuple[dict[str, NDArray[Any]], str]:
    """Return what a page draws of the features, and the name of the projection.

    Arrays: ``source only`` and ``chosen``, (n, 2) places on axes that are fitted to both domains together; ``target``,
    (n,) whether a row is of the target; ``labels``, (n,) its class: as given for the source, as predicted for the
    target.
    """
    rows, other = (np.linspace(0, len(x) - 1, min(len(x), _ROWS)).round().astype(np.int64) for x in (X, Xt))
    inputs, answers = _taken(X, rows), _taken(Xt, other)
    title, project = _projection(adapter.seed)
    arrays = {}
    for name, each in (("source only", adapter.unadapted()), ("chosen", adapter)):
        both = np.concatenate([each.embed(part) for part in (inputs, answers)])
        arrays[name] = project(np.nan_to_num(both)).astype(np.float32)
    arrays["target"] = np.repeat([False, True], [len(rows), len(other)])
    arrays["labels"] = np.concatenate([y[rows].astype(np.str_), adapter.predict(answers).astype(np.str_)])
    return arrays, title


def _taken(X: Any, rows: NDArray[np.int64]) -> Any:
    return X.take(rows) if isinstance(X, Table) else X[rows]


def _projection(seed: int) -> tuple[str, Any]:
    """UMAP where umap-learn is installed, else principal components."""
    try:
        umap = importlib.import_module("umap")
    except ImportError:
        return "PCA", _principal
    return "UMAP", lambda features: umap.UMAP(random_state=seed, n_jobs=1).fit_transform(features)


def _principal(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """The first two principal components, (n, 2); each component's largest weight is positive."""
    centred = features.astype(np.float64) - features.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    axes = axes * np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1))
    places = np.zeros((len(features), 2))
    places[:, : len(axes)] = centred @ axes.T
    return places
