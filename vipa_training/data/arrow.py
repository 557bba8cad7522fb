"""pyarrow, which ships no types: its classes are Any to the type checker."""

from typing import Any

import pyarrow
import pyarrow.parquet

pa: Any = pyarrow
pq: Any = pyarrow.parquet
ArrowError: type[Exception] = pyarrow.ArrowException

Table = Any
Schema = Any
Column = Any
DataType = Any

__all__ = ["ArrowError", "Column", "DataType", "Schema", "Table", "pa", "pq"]
