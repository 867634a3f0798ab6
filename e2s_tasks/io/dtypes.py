"""pandas' own arguments for Parquet: which engine, and of which kinds of types the columns of a frame are."""

from typing import TYPE_CHECKING, Any, Literal

from e2s_tasks.errors import SettingError

if TYPE_CHECKING:
    import pandas as pd

Engine = Literal["auto", "pyarrow"]
DtypeBackend = Literal["numpy_nullable", "pyarrow"]


def check_engine(engine: str) -> None:
    """Nothing, for an engine that there is.

    Raises:
        SettingError: another one.
    """
    if engine not in ("auto", "pyarrow"):
        raise SettingError(
            f'engine={engine!r} cannot be used: only pyarrow is measured. Use "pyarrow", or leave it out.'
        )


def check_frame(backend: str | None, options: dict[str, Any] | None, to: str) -> None:
    """Nothing, for a `dtype_backend` that there is, and that is for a frame as `to_pandas_kwargs` is.

    Raises:
        SettingError: another one; one of them for what is no DataFrame.
    """
    if options is not None and to != "pandas":
        raise SettingError(
            f"to_pandas_kwargs={options!r} is for a DataFrame, not for to={to!r}: leave one of them out."
        )
    if backend not in (None, "numpy_nullable", "pyarrow"):
        raise SettingError(f'dtype_backend={backend!r} cannot be used: give "numpy_nullable" or "pyarrow".')
    if backend is not None and to != "pandas":
        raise SettingError(f"dtype_backend={backend!r} is for a DataFrame, not for to={to!r}: leave one out.")


def as_frame(table: Any, backend: str | None, options: dict[str, Any] | None = None) -> "pd.DataFrame":
    """The pyarrow Table as a DataFrame, with the types that `pandas.read_parquet(dtype_backend=...)` gives.

    options: further ones of `pyarrow.Table.to_pandas`.
    """
    given = dict(options or {})
    if backend == "pyarrow":
        from pandas import ArrowDtype

        given["types_mapper"] = ArrowDtype
    elif backend is not None:
        given["types_mapper"] = _nullable().get
    frame: pd.DataFrame = table.to_pandas(**given)
    return frame


def _nullable() -> dict[Any, Any]:
    import pandas as pd
    import pyarrow as pa

    signed = {pa.int8(): pd.Int8Dtype, pa.int16(): pd.Int16Dtype, pa.int32(): pd.Int32Dtype, pa.int64(): pd.Int64Dtype}
    unsigned = {
        pa.uint8(): pd.UInt8Dtype, pa.uint16(): pd.UInt16Dtype, pa.uint32(): pd.UInt32Dtype, pa.uint64(): pd.UInt64Dtype
    }  # fmt: skip
    floats = {pa.float32(): pd.Float32Dtype, pa.float64(): pd.Float64Dtype}
    others = {pa.bool_(): pd.BooleanDtype, pa.string(): pd.StringDtype, pa.large_string(): pd.StringDtype}
    return {arrow: dtype() for arrow, dtype in (signed | unsigned | floats | others).items()}
