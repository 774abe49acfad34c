"""The table of predictions as a parquet: made of the csv in the end, and the csv of it to go on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pulmo.errors import DataError, MissingExtraError
from pulmo.prediction.whole import whole

TEXT = frozenset(
    {"path", "decision", "error", "mask", "dicom", "no_dicom", "boxes", "patient_id", "study_uid", "sop_uid"}
)
WHOLE = frozenset({"width", "height"})
ROW_GROUP = 64 << 20  # bytes of csv that become a row group or a part of one


def pyarrow_or_refuse() -> Any:
    """The library; raises `MissingExtraError` where it is not installed."""
    try:
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("a parquet needs pyarrow: pip install 'pulmo[parquet]', or --out NAME.csv") from error
    return pyarrow


def write_parquet(journal: Path, out: Path, columns: Sequence[str]) -> None:
    """Write the rows of the csv `journal` to `out`, a block of it after the other; raises `DataError`."""
    arrow = pyarrow_or_refuse()
    types = {
        name: arrow.string() if name in TEXT else arrow.int32() if name in WHOLE else arrow.float64()
        for name in columns
    }
    schema = arrow.schema(list(types.items()))
    try:
        reader = arrow.csv.open_csv(
            journal,
            read_options=arrow.csv.ReadOptions(block_size=ROW_GROUP // 8),
            parse_options=arrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=arrow.csv.ConvertOptions(column_types=schema, strings_can_be_null=False, null_values=[""]),
        )
        with whole(out) as part, arrow.parquet.ParquetWriter(part, schema) as writer:
            for batch in reader:
                writer.write_batch(batch)
    except arrow.ArrowException as error:
        raise DataError(f"{out} cannot be made of {journal}, where all rows are ({error})") from error


def read_parquet(out: Path, journal: Path) -> None:
    """Write the csv `journal` that a parquet was made of; raises `DataError` where it is none."""
    arrow = pyarrow_or_refuse()
    with _refusing(out):
        stored = arrow.parquet.ParquetFile(out)
    # `_refusing` within `whole`, which takes each error of the system for one of the place that it writes to.
    with whole(journal) as part, arrow.csv.CSVWriter(part, stored.schema_arrow) as writer, _refusing(out):
        for batch in stored.iter_batches():
            writer.write_batch(batch)


@contextmanager
def _refusing(out: Path) -> Iterator[None]:
    """Tell a damaged parquet as such: pyarrow raises its own errors, or the system's without a number."""
    arrow = pyarrow_or_refuse()
    try:
        yield
    except (arrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{out} is no parquet that can be gone on with ({str(error).splitlines()[0]})") from error
