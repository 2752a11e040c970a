"""Labelled sequences load as published; a file that cannot be used is refused with a reason."""

import importlib.util

import numpy as np
import pytest

from twofold import InputError
from twofold.data.uea import SHIPPED, load_labelled

HEADER = """@problemName Toy
@timeStamps false
@missing false
@univariate false
@dimensions 2
@equalLength false
@classLabel true a b
@data
"""
CASES = "1,2,3:4,5,6:a\n1,2:3,4:b\n"


@pytest.fixture
def write(tmp_path):
    """`write(train, test)` writes a pair of files and returns the path of their common stem."""

    def write(train=HEADER + CASES, test=HEADER + CASES):
        for part, text in (("TRAIN", train), ("TEST", test)):
            if text is not None:
                (tmp_path / f"Toy_{part}.ts").write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(tmp_path / "Toy")

    return write


def test_japanese_vowels_is_split_as_published():
    data = load_labelled("JapaneseVowels")
    assert (len(data.train.targets), len(data.test.targets), len(data.labels)) == (270, 370, 9)
    assert data.train.tokens.shape[2] == 12
    lengths = np.concatenate([data.train.lengths, data.test.lengths])
    assert (lengths.min(), lengths.max()) == (7, 29)


@pytest.mark.parametrize("name", SHIPPED)
def test_padding_is_zero_and_left_out_of_the_real_tokens(name):
    data = load_labelled(name)
    for part in (data.train, data.test):
        assert len(part.real) == part.lengths.sum()
        assert all(not np.any(x[n:]) for x, n in zip(part.tokens, part.lengths, strict=True))


@pytest.mark.parametrize("ending", ["", "_TRAIN.ts", "_TEST.ts"])
def test_a_pair_of_files_is_named_by_either_or_their_stem(write, ending):
    data = load_labelled(write() + ending)
    assert data.name == "Toy"
    assert data.labels == ("a", "b")
    np.testing.assert_array_equal(data.train.tokens, [[[1, 4], [2, 5], [3, 6]], [[1, 3], [2, 4], [0, 0]]])
    np.testing.assert_array_equal(data.train.lengths, [3, 2])
    np.testing.assert_array_equal(data.test.targets, [0, 1])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (b"", "no line @data"),
        (b"\xff\xfe\x00 nonsense", "not a readable text file"),
        ("@problemName Toy\n" + CASES, "no line @data"),
        (HEADER.replace("@classLabel true a b\n", "") + CASES, "no line '@classLabel true'"),
        (HEADER.replace("true a b", "false") + CASES, "no line '@classLabel true'"),
        (HEADER, "no sequences after @data"),
        (HEADER + "1,2:3,4,5:a\n", "cannot be read"),
        (HEADER + "1,x:3,4:a\n", "cannot be read"),
        (HEADER.replace("a b", "a b c") + "1,2:3,4:c\n", "has the class 'c', which Toy_TRAIN.ts does not have"),
        (HEADER + "1,2:3,4:c\n", "sequence 1 of .* has the class 'c'; @classLabel names a, b"),
        (HEADER.replace("ons 2", "ons 3") + CASES, "says '@dimensions 3', and its sequences have 2"),
        (HEADER + "1,1e39:3,4:a\n", "sequence 1 of .* has inf in dimension 1 at time 2"),
        (HEADER + "1,2:3,?:a\n", "sequence 1 of .* has nan in dimension 2 at time 2"),
        (HEADER.replace("ons 2", "ons 1") + "1,2:a\n", "has 1 dimensions, and Toy_TRAIN.ts has 2"),
        (None, "is missing"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(write, broken, message):
    with pytest.raises(InputError, match=message):
        load_labelled(write(test=broken))


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"unknown dataset 'Vowels'.* BasicMotions, .* JapaneseVowels"):
        load_labelled("Vowels")


@pytest.mark.parametrize("dataset", ["JapaneseVowels", None])
def test_a_package_that_is_missing_is_named(write, monkeypatch, dataset):
    own = write()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="the package aeon is missing; pip install"):
        load_labelled(dataset or own)
