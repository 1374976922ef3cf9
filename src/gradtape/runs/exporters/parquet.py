"""A Parquet file per channel, a row per step and column, a row group per column."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gradtape.runs.exporters._source import Source, about, file_names, needed


def write(source: Source, folder: Path) -> None:
    """Write the columns ``step`` (int64), ``column`` (a dictionary of texts) and ``value`` (float32).

    A reader that filters by ``column`` reads no more than that column's row group.
    """
    with needed("parquet"):
        import pyarrow
        import pyarrow.parquet
    files = file_names(source.series.names(), ".parquet")
    kinds = {
        "step": pyarrow.int64(),
        "column": pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
        "value": pyarrow.float32(),
    }
    for channel, file in files.items():
        schema = pyarrow.schema(kinds, metadata={"channel": channel, "run": source.name})
        with pyarrow.parquet.ParquetWriter(
            folder / file, schema, use_dictionary=["column"], column_encoding={"step": "DELTA_BINARY_PACKED"}
        ) as rows:
            for column, series in source.columns(channel):
                names = pyarrow.DictionaryArray.from_arrays(np.zeros(len(series.steps), np.int32), [column])
                arrays = [pyarrow.array(series.steps), names, pyarrow.array(series.values[:, 0])]
                rows.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), row_group_size=2**62)
    about(source, files, folder)
