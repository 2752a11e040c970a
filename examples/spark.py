"""Flights of three airports in Spark: each airport has a stream of its own, and Spark keeps its state.

A model learns when the next flight leaves and of which airline it is. Spark streams later flights through it, is stopped in the
middle, and goes on from its checkpoint. The answers are those of a `KeyedStream` that was never stopped, to the last bit.

It needs Java, and pip install 'twofold[tasks,spark]'. It takes about a minute:

    python examples/spark.py FOLDER
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas
from pyspark.sql import DataFrame, SparkSession

from twofold.data.nycflights import read
from twofold.deploy import KeyedStream, spark
from twofold.deploy.finished_run import read_run
from twofold.tasks import Events, train

COLUMNS = "airport string, time double, mark string, flight long"
ORDER = ["time", "flight", "mark"]
"""Many flights leave in the same minute. Rows that are equal in all of these columns would have no order."""
FILES = 5


def session() -> SparkSession:
    """Spark on two cores of this machine."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # the workers run the Python that has twofold
    settings = {
        "sql.shuffle.partitions": "2",
        "driver.host": "127.0.0.1",
        "ui.enabled": "false",
        "log.level": "OFF",
    }
    builder = SparkSession.builder.master("local[2]")
    for name, value in settings.items():
        builder = builder.config(f"spark.{name}", value)
    return builder.getOrCreate()


def flights(month: int, days: int) -> pandas.DataFrame:
    """The departures of the first days of a month, in minutes since it began, in order of time."""
    table = read("flights")
    table = table[(table.month == month) & (table.day <= days) & table.dep_time.notna()]
    minute = table.sched_dep_time // 100 * 60 + table.sched_dep_time % 100
    left = (table.day - 1) * 1440.0 + minute + table.dep_delay
    made = {"airport": table.origin, "time": left, "mark": table.carrier, "flight": table.flight}
    return pandas.DataFrame(made).sort_values(ORDER).reset_index(drop=True)


def learn(folder: Path) -> None:
    """Train a small model for a moment. A day at an airport is a sequence."""
    known = flights(month=1, days=10).groupby("mark").filter(lambda own: len(own) >= 30)
    known["sequence"] = known.airport + (known.time // 1440).astype(str)
    known["time"] = known.time.clip(lower=0)
    known[["sequence", "time", "mark"]].to_csv(folder / "january.csv", index=False)
    task = Events(
        dataset=str(folder / "january.csv"), jitter=1.0, width=16, depth=1, heads=2, steps=20, batch=8, measurements=2
    )
    train(task, folder / "run", progress=False)


def write_files(table: pandas.DataFrame, folder: Path) -> None:
    """The flights in files, as they would arrive. Spark reads the oldest file first."""
    folder.mkdir()
    for number, part in enumerate(np.array_split(np.arange(len(table)), FILES)):
        table.iloc[part].to_json(folder / f"{number}.json", orient="records", lines=True)
        os.utime(folder / f"{number}.json", (number, number))


def started(spark_session: SparkSession, folder: Path, **trigger):
    """A query that answers the flights, one file in a micro-batch."""
    rows = spark_session.readStream.schema(COLUMNS).option("maxFilesPerTrigger", 1).json(str(folder / "arriving"))
    answers = spark.answered(rows, folder / "run", key="airport", order=ORDER)
    writer = answers.writeStream.option("checkpointLocation", str(folder / "checkpoint")).trigger(**trigger)
    return writer.start(str(folder / "answers"), format="parquet")


def keyed(table: pandas.DataFrame, run: Path) -> list[dict | None]:
    """The answers of a `KeyedStream`, in the order of `in_order`. Flights of unknown airlines have none."""
    words, model = read_run(run)
    records = table.to_dict("records")
    known = [place for place, record in enumerate(records) if record["mark"] in words.marks]
    readable = [records[place] for place in known]
    tokens = np.array([words.token(record) for record in readable])
    ys = KeyedStream(model).push([record["airport"] for record in readable], tokens)
    answers: list[dict | None] = [None] * len(table)
    for place, answer in zip(known, words.answers(ys, readable), strict=True):
        answers[place] = answer
    return [answers[place] for place in table.sort_values(["airport", *ORDER]).index]


def in_order(answers: DataFrame) -> pandas.DataFrame:
    """The answers as a table of pandas."""
    return answers.toPandas().sort_values(["airport", *ORDER]).reset_index(drop=True)


def main(folder: Path) -> None:
    folder.mkdir(parents=True)
    first = session()  # before JAX starts its threads, because Java is started by a fork of this process
    learn(folder)
    table = flights(month=2, days=2)
    write_files(table, folder / "arriving")

    query = started(first, folder, processingTime="0 seconds")
    while not query.recentProgress:
        if query.exception():
            raise query.exception()
        time.sleep(0.05)
    query.stop()
    before = first.read.parquet(str(folder / "answers")).count()
    first.stop()
    print(f"Spark was stopped after {before:,} of {len(table):,} flights.")

    second = session()
    started(second, folder, availableNow=True).awaitTermination()
    streamed = in_order(second.read.parquet(str(folder / "answers")))
    history = second.read.schema(COLUMNS).json(str(folder / "arriving"))
    batch = in_order(spark.answered(history, folder / "run", key="airport", order=ORDER))
    second.stop()
    streamed.to_json(folder / "streamed.json", orient="records")
    batch.to_json(folder / "batch.json", orient="records")

    print(f"It went on from its checkpoint. Each of the {len(streamed):,} flights has one answer, or one error:")
    print(
        streamed.error.value_counts().to_string(header=False) if streamed.error.notna().any() else "there is no error."
    )

    expected = keyed(table, folder / "run")
    assert [json.loads(answer) if isinstance(answer, str) else None for answer in streamed.answer] == expected
    print("The answers are those of a KeyedStream that was never stopped, to the last bit.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
