"""Labelled sequences in the `.ts` format of the UEA archive, with the published split in training and test."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..errors import InputError
from .packages import folder_of

SHIPPED = (
    "ACSF1",
    "ArrowHead",
    "BasicMotions",
    "GunPoint",
    "ItalyPowerDemand",
    "JapaneseVowels",
    "OSULeaf",
    "PickupGestureWiimoteZ",
)
"""The data sets that aeon ships, so that nothing needs to be downloaded."""


class Sequences(NamedTuple):
    """Labelled sequences. Zeros at their ends pad them to a common length."""

    tokens: Float[np.ndarray, "sequences time features"]
    lengths: Int[np.ndarray, " sequences"]
    targets: Int[np.ndarray, " sequences"]
    """The class of each sequence, as an index into the `labels` of the data set."""

    @property
    def real(self) -> Float[np.ndarray, "tokens features"]:
        """The tokens of all sequences, one after another, without padding."""
        return np.concatenate([x[:n] for x, n in zip(self.tokens, self.lengths, strict=True)])


class LabelledSet(NamedTuple):
    """A classification data set, split as published."""

    name: str
    train: Sequences
    test: Sequences
    labels: tuple[str, ...]

    @property
    def notes(self) -> str:
        """A line that says what the data are."""
        lengths = np.concatenate([self.train.lengths, self.test.lengths])
        return (
            f"{len(self.train.targets)} sequences to train and {len(self.test.targets)} to test, of {lengths.min()} to"
            f" {lengths.max()} tokens, {len(self.labels)} classes"
        )


def load_labelled(dataset: str) -> LabelledSet:
    """Read a labelled data set: one that aeon ships, or a pair of files.

    **Arguments:**

    - `dataset`: one of the names in `SHIPPED`, such as "JapaneseVowels", or the path of a pair of files. `some/Name` stands
        for `some/Name_TRAIN.ts` and `some/Name_TEST.ts`. The path of either file may be given too.

    **Raises:** `InputError` for an unknown name, for files that are missing or broken, for missing values, and for two files
    that do not belong together.
    """
    train_file, test_file = files_of(dataset)
    (train, train_labels), (test, test_labels) = _read(train_file), _read(test_file)
    labels = tuple(sorted(set(train_labels)))
    unknown = sorted(set(test_labels) - set(labels))
    if unknown:
        raise InputError(f"{test_file} has the class {unknown[0]!r}, which {train_file.name} does not have")
    features = train[0].shape[1]
    if test[0].shape[1] != features:
        raise InputError(
            f"{test_file} has {test[0].shape[1]} dimensions, and {train_file.name} has {features}; they must agree"
        )
    name = train_file.name.removesuffix("_TRAIN.ts")
    targets = [np.array([labels.index(label) for label in names]) for names in (train_labels, test_labels)]
    return LabelledSet(name, padded(train, targets[0]), padded(test, targets[1]), labels)


def files_of(dataset: str) -> tuple[Path, Path]:
    """The files that `load_labelled` reads. **Raises:** `InputError` if there are none."""
    if dataset in SHIPPED:
        stem = str(folder_of("aeon") / "datasets" / "data" / dataset / dataset)
    else:
        stem = dataset.removesuffix(".ts").removesuffix("_TRAIN").removesuffix("_TEST")
    train, test = Path(f"{stem}_TRAIN.ts"), Path(f"{stem}_TEST.ts")
    if dataset not in SHIPPED and not train.is_file() and not test.is_file():
        raise InputError(
            f"unknown dataset {dataset!r}; it must be one of {', '.join(SHIPPED)}, or there must be a file {train}"
        )
    for file in (train, test):
        if not file.is_file():
            raise InputError(f"{file} is missing; a data set is a pair of files, NAME_TRAIN.ts and NAME_TEST.ts")
    return train, test


def _read(file: Path) -> tuple[list[np.ndarray], list[str]]:
    """The sequences of a file, each `(time, features)`, and their labels."""
    header = _header(file)
    folder_of("aeon")
    from aeon.datasets import load_from_ts_file  # imported here, because it takes seconds

    try:
        cases, labels = load_from_ts_file(str(file))
    except Exception as error:  # the parser raises many kinds for a broken file
        raise InputError(f"{file} cannot be read as a .ts file: {error}") from error
    if len(cases) == 0:
        raise InputError(f"{file} has no sequences after @data")
    with np.errstate(over="ignore"):  # an infinity is an error below
        sequences = [np.asarray(case, np.float32).T for case in cases]
    dimensions = header.get("@dimensions", str(sequences[0].shape[1]))
    if dimensions != str(sequences[0].shape[1]):
        raise InputError(
            f"{file} says '@dimensions {dimensions}', and its sequences have {sequences[0].shape[1]}; they must agree"
        )
    labels, known = list(map(str, labels)), header["@classlabel"].split()[1:]
    for number, (x, label) in enumerate(zip(sequences, labels, strict=True), 1):
        if label not in known:
            raise InputError(
                f"sequence {number} of {file} has the class {label!r}; @classLabel names {', '.join(known)}"
            )
        if len(x) == 0:
            raise InputError(f"sequence {number} of {file} is empty; it needs at least one token")
        if x.shape[1] != sequences[0].shape[1]:
            raise InputError(
                f"sequence {number} of {file} has {x.shape[1]} dimensions, and the first has {sequences[0].shape[1]}"
            )
        if not np.all(np.isfinite(x)):
            time, feature = np.argwhere(~np.isfinite(x))[0]
            raise InputError(
                f"sequence {number} of {file} has {x[time, feature]} in dimension {feature + 1} at time {time + 1};"
                " missing values are not supported"
            )
    return sequences, labels


def _header(file: Path) -> dict[str, str]:
    """The lines of the header, by their first words. All is in lower case, as the parser of aeon has it.

    That parser skips lines that it does not know. This function says what a broken header lacks.

    **Raises:** `InputError` for a file that is no text, and for a header without @data or @classLabel.
    """
    try:
        with file.open(encoding="utf-8") as lines:
            header = {}
            for line in lines:
                word, _, rest = line.strip().partition(" ")
                if word.startswith("@"):
                    header[word.lower()] = rest.strip().lower()
                if word.lower() == "@data":
                    break
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not a readable text file: {error}") from error
    if "@data" not in header:
        raise InputError(f"{file} has a broken header: there is no line @data before its sequences")
    if not header.get("@classlabel", "").startswith("true "):
        raise InputError(
            f"{file} has a broken header: there is no line '@classLabel true' with the names of the classes"
        )
    return header


def padded(sequences: list[np.ndarray], targets: Int[np.ndarray, " sequences"]) -> Sequences:
    """The sequences, each `(time, features)`, in one array."""
    lengths = np.array([len(x) for x in sequences])
    tokens = np.zeros((len(sequences), lengths.max(), sequences[0].shape[1]), np.float32)
    for row, x in zip(tokens, sequences, strict=True):
        row[: len(x)] = x
    return Sequences(tokens, lengths, targets)
