"""Open Parquet files, with pyarrow (extra ``parquet``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gatewise.data.files import check_size


def opened(path: Path) -> Any:
    """The open file. Raises ValueError where it cannot be read."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise ValueError(
            f"{path} is a Parquet file, which pyarrow reads: pip install 'gatewise[parquet]'"
        ) from None
    check_size(path)
    try:
        file = parquet.ParquetFile(path)
    except (arrow.ArrowException, OSError) as error:
        raise damaged(path, error) from error
    check_size(path, sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)))
    return file


def damaged(path: Path, error: Exception) -> ValueError:
    """What to say of a file that cannot be read."""
    said = " ".join(str(error).split())
    return ValueError(f"{path} cannot be read as Parquet ({said[:120]}): write it anew")
