"""A trained run in Apache Spark: as a stateful operator on streams, and on whole histories in batches.

Import it on its own, as `twofold.deploy.spark`. It needs the extra `spark`, and Java.
"""

import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.packages import missing
from ..errors import InputError
from ..saving import packed, unpacked
from ..tasks.words import Words
from .finished_run import read_run
from .keyed_stream import KeyedStream
from .stream import Stream

try:
    import pandas
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming.state import GroupStateTimeout
    from pyspark.sql.types import StringType, StructType
except ImportError as error:
    raise missing(str(error.name), "spark") from error

ADDED = ("answer", "error")
ONE = "key"
"""Spark gives one group at a time to a worker. So its keyed stream has one key, and any type of key will do."""

Packed = tuple[tuple[str, bytes], ...]
"""The files of a model. Spark sends them to its workers, so that these need no folder in common."""


def answered(rows: DataFrame, run: Path | str, *, key: str | Sequence[str], order: str | Sequence[str]) -> DataFrame:
    """The answer of a trained run after each row. The rows of each key are a stream of their own.

    The result has the columns of `rows`, and two more. `answer` is JSON, with the names that `twofold stream` uses. If a row
    cannot be read, `answer` is null, `error` says why, and the state of the key stays as it was.

    If `rows` is a stream, the state of each key is a state of Spark. Spark keeps it in the checkpoint of the query, together
    with the positions in the sources. A query that is started again continues exactly where it was. A state is the bytes that
    `KeyedStream.snapshot` returns, and the answers are those of a `KeyedStream`. Output modes other than append are not
    supported.

    If `rows` is no stream, each key has its whole history in `rows`, which the model reads in parallel. The answers are those
    of the stream, up to rounding.

    **Arguments:**

    - `rows`: a table or a stream. Its columns have the names of the features of the run; for a run of the task events, they
        are `time` and `mark`. Other columns are passed on.
    - `run`: the folder of a finished run. Only this process needs it, and not the workers.
    - `key`: the column or columns that say to which stream a row belongs.
    - `order`: the column or columns that the rows of a key are sorted by. A stream sorts the rows of each micro-batch.

    **Raises:** `InputError` for a folder that is no finished run, and for columns that are missing or have a name of the
    result. A query fails with an `InputError` if its checkpoint has states of another model.
    """
    keys, orders = ([names] if isinstance(names, str) else list(names) for names in (key, order))
    words, model = read_run(run)
    lacking = [name for name in (*keys, *orders) if name not in rows.columns]
    if lacking or set(ADDED) & set(rows.columns):
        raise InputError(
            f"the rows have the columns {', '.join(rows.columns)}; they must have {', '.join((*keys, *orders))}, and none"
            f" of {', '.join(ADDED)}, which are added"
        )
    schema = functools.reduce(lambda schema, name: schema.add(name, StringType()), ADDED, StructType([*rows.schema]))
    settings: dict[str, Any] = {
        "files": tuple(packed(model).items()),
        "words": json.dumps(words.as_json()),
        "order": orders,
    }
    groups = rows.groupBy(*keys)
    if not rows.isStreaming:
        return groups.applyInPandas(functools.partial(_whole, **settings), schema)
    continued = functools.partial(_continued, **settings)
    return groups.applyInPandasWithState(continued, schema, "state binary", "append", GroupStateTimeout.NoTimeout)


def _continued(
    key: tuple, tables: Iterable[pandas.DataFrame], state: Any, *, files: Packed, words: str, order: list[str]
) -> Iterator[pandas.DataFrame]:
    """Answer the rows of a key in a micro-batch. `state` is the state of the key, a `GroupState`."""
    stream, spoken = _keyed(files), Words.from_json(json.loads(words))
    stream.reset()
    if state.exists:
        stream.restore({ONE: bytes(state.get[0])})
    table = pandas.concat(tables).sort_values(order, kind="stable")
    yield _with_answers(table, spoken, lambda tokens: stream.push([ONE] * len(tokens), tokens))
    for snapshot in stream.snapshot([ONE]).values():  # none, if no row could be read
        state.update((snapshot,))


def _whole(table: pandas.DataFrame, *, files: Packed, words: str, order: list[str]) -> pandas.DataFrame:
    """Answer the whole history of a key."""
    stream = _parallel(files)
    stream.reset()
    spoken = Words.from_json(json.loads(words))
    return _with_answers(table.sort_values(order, kind="stable"), spoken, stream.push_many)


def _with_answers(table: pandas.DataFrame, words: Words, push: Any) -> pandas.DataFrame:
    """The table with its answers and errors. `push` makes outputs of the tokens of the rows that can be read."""
    records, places, tokens = _records(table), [], []
    answers: list[str | None] = [None] * len(table)
    errors: list[str | None] = [None] * len(table)
    for place, record in enumerate(records):
        try:
            tokens.append(words.token(record))
            places.append(place)
        except InputError as error:
            errors[place] = str(error)
    if tokens:
        ys = push(np.array(tokens))
        found = words.answers(ys, [records[place] for place in places])
        for place, answer, finite in zip(places, found, np.isfinite(ys).all(1), strict=True):
            if finite:
                answers[place] = json.dumps(answer)
            else:
                errors[place] = "its numbers are so large that the answer is not finite"
    return table.assign(answer=answers, error=errors)


def _records(table: pandas.DataFrame) -> list[dict[str, Any]]:
    """The rows as records. Times become text, as the words read it."""
    times = {
        name: table[name].map(pandas.Timestamp.isoformat) for name in table.select_dtypes(["datetime", "datetimetz"])
    }
    return table.assign(**times).to_dict("records")


@functools.lru_cache(maxsize=4)
def _keyed(files: Packed) -> KeyedStream:
    """A keyed stream for a worker. It is kept, because it compiles."""
    return KeyedStream(unpacked(dict(files)), max_keys=1)


@functools.lru_cache(maxsize=4)
def _parallel(files: Packed) -> Stream:
    return Stream(unpacked(dict(files)))
