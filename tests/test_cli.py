"""The command line: help with examples, bad input in one sentence with exit code 2, and no folder left behind."""

import pytest

from twofold import cli


def _run(*arguments):
    try:
        return cli.main(list(arguments))
    except SystemExit as leaving:  # the parser's own way out
        return leaving.code


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", ["demo", "reproduce", "train", "evaluate"])
def test_help_has_examples(command, capsys):
    assert _run(command, "--help") == 0
    assert f"twofold {command}" in capsys.readouterr().out.partition("xample")[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("reproduce table9", "table9"),
        ("reproduce table1 --seeds 0", "seeds is 0"),
        ("reproduce table1 --recipe slow", "slow"),
        ("reproduce table2 --seeds 0", "seeds is 0"),
        ("reproduce training --seconds -1", "seconds is -1"),
        ("train classification --mixer mamba", "unknown mixer 'mamba'"),
        ("train classification --dataset Nothing", "unknown dataset 'Nothing'"),
        ("train classification --heads 5", "num_heads = 5"),
        ("train classification --steps many", "steps"),
        ("evaluate runs/nothing", "runs/nothing"),
        ("dream", "dream"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, message, capsys, tmp_path):
    assert _run(*arguments.split()) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert "Traceback" not in out + err
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_trained_evaluated_and_its_damage_reported(capsys, tmp_path):
    options = [
        "--dataset",
        "BasicMotions",
        "--width",
        "8",
        "--depth",
        "1",
        "--heads",
        "2",
        "--steps",
        "3",
        "--batch",
        "4",
    ]
    assert _run("train", "classification", *options) == 0
    folder = tmp_path / "runs" / "BasicMotions-aaren"
    trained = capsys.readouterr().out
    assert _run("evaluate", str(folder)) == 0
    evaluated = capsys.readouterr().out
    assert [line for line in evaluated.splitlines() if "test" in line] == [
        line for line in trained.splitlines() if "test" in line and "│" in line
    ]
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert _run("evaluate", str(folder)) == 2
    assert "model.safetensors is truncated or damaged" in capsys.readouterr().err
