"""Tables as a network takes them, and the attribute as groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from gradtape.errors import InputError, listed

_CATEGORIES = 100  # of one column; the rarest share a column of their own


def is_frame(X: Any) -> bool:
    """Whether the table is a data frame, with columns of their own types."""
    return hasattr(X, "columns") and hasattr(X, "iloc")


def encoder(X: Any) -> ColumnTransformer | Pipeline:
    """Return what makes numbers of a table: medians for missing numbers, mean 0 and deviation 1; 0 and 1 for words."""
    numbers = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    if not is_frame(X):
        return numbers
    words = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=_CATEGORIES, sparse_output=False, dtype=np.float64
    )
    return ColumnTransformer([("numbers", numbers, make_column_selector(dtype_include="number"))], remainder=words)


def without_attribute(X: Any, attribute: Any, columns: int | None = None) -> tuple[Any, Any]:
    """Return the inputs and the attribute of a table; the attribute is None where the table comes without.

    Args:
        X: A data frame, or rows of numbers.
        attribute: Name of a column, or its position; None where it is none of the columns.
        columns: Number of inputs that a table must have to come without the attribute; None refuses one that does.

    Raises:
        InputError: There is no such column.
    """
    if attribute is None:
        return X, None
    if is_frame(X):
        if not isinstance(attribute, str) and attribute not in X.columns and isinstance(attribute, int):
            attribute = X.columns[attribute] if -len(X.columns) <= attribute < len(X.columns) else attribute
        if attribute in X.columns:
            return X.drop(columns=[attribute]), X[attribute]
        if columns is None:
            raise InputError(
                f"the table has no column {attribute!r} for the attribute",
                remedy=f"name one of its columns: {listed([str(name) for name in X.columns])}",
            )
        return X, None
    table = X if hasattr(X, "ndim") else np.asarray(X)
    width = table.shape[1] if table.ndim == 2 else 0
    if columns is not None and width == columns:
        return X, None
    if isinstance(attribute, bool) or not isinstance(attribute, int) or not -width <= attribute < width:
        raise InputError(
            f"the attribute is column {attribute!r} of an array of shape {table.shape}",
            remedy="give the position of a column, or a data frame for one with names",
        )
    return np.delete(table, attribute, axis=1), table[:, attribute]


def groups_of(attribute: Any, rows: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the groups' names, sorted, and the group of each row.

    Raises:
        InputError: Not one value per row, missing values, a single group, or one of a single row.
    """
    missing = np.asarray(attribute.isna()) if hasattr(attribute, "isna") else None
    values = np.asarray(attribute)
    if values.shape != (rows,):
        raise InputError(
            f"the attribute has shape {values.shape} and there are {rows} rows", remedy="give one value for each row"
        )
    if missing is None:
        missing = np.array([value is None or value != value for value in values.tolist()])
    if missing.any():
        raise InputError(
            f"the attribute is missing in {int(missing.sum())} of {rows} rows, the first of them row "
            f"{int(missing.argmax())}",
            remedy="leave these rows out, or make 'unknown' a group of its own",
        )
    try:
        names, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    except TypeError:
        kinds = sorted({type(value).__name__ for value in values.tolist()})
        raise InputError(f"the attribute mixes {listed(kinds)}", remedy="give values of one type") from None
    if len(names) < 2:
        raise InputError(
            f"the attribute is {names[0]!s} in every row", remedy="give an attribute with two groups or more"
        )
    if counts.min() < 2:
        raise InputError(
            f"the group {names[counts.argmin()]!s} of the attribute has a single row, of {len(names)} groups",
            remedy="merge small groups, or divide an attribute that is a number into a few ranges",
        )
    return names, group
