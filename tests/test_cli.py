"""The command line: help with examples, bad input in one sentence with exit code 2, and no folder left behind."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import twofold
from twofold import cli
from twofold.tasks import control, run
from twofold.tasks.run import TASKS


def _run(*arguments):
    try:
        return cli.main(list(arguments))
    except SystemExit as leaving:  # the parser's own way out
        return leaving.code


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "command", ["demo", "reproduce", "train", "evaluate", "stream", "export", "data", "bench", "report"]
)
def test_help_has_examples(command, capsys):
    assert _run(command, "--help") == 0
    assert f"twofold {command}" in capsys.readouterr().out.partition("xample")[2]


EXPERIMENTS = (
    *(
        "clock",
        "comparison",
        "control",
        "conversions",
        "efficiency",
        "episode",
        "figure2",
        "figure3",
        "figure4",
        "figure5",
    ),
    *("literature", "long", "optimisers", "positions", "scale", "table1", "table2", "table3", "table4", "whole"),
)


def test_the_experiments_are_the_modules_that_have_a_command():
    assert tuple(sorted(cli.experiments())) == EXPERIMENTS


@pytest.mark.parametrize(("old", "new"), cli.OLD_NAMES.items())
def test_an_old_name_of_an_experiment_is_understood(old, new, monkeypatch):
    done = []
    monkeypatch.setattr(cli.experiments()[new], "run", lambda self, console: done.append(self.out))
    assert _run("reproduce", old, "--out", "elsewhere") == 0
    assert list(map(str, done)) == ["elsewhere"]


def _process(command, **options):
    """A command line in a process of its own, by a shell."""
    line = f"{sys.executable} -m twofold {command}"
    return subprocess.run(line, shell=True, capture_output=True, text=True, check=False, **options)


def test_the_version_is_printed():
    done = _process("--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"twofold {twofold.__version__}")


@pytest.mark.parametrize("command", ["--help", "reproduce table1 --help"])
def test_a_closed_pipe_ends_quietly(command):
    assert _process(f"{command} | head -n 1 >/dev/null").stderr == ""


@pytest.mark.parametrize(
    ("out", "message"), [("file/below", "Not a directory"), ("/proc/twofold", "No such file or directory")]
)
def test_a_folder_that_cannot_be_made_is_one_sentence(out, message, capsys):
    Path("file").write_text("not a folder")
    assert _run("reproduce", "table4", "--d", "1", "--out", out) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_output_that_cannot_be_written_is_one_sentence():
    done = _process("--version > /dev/full")
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_closed_output_is_one_sentence_before_anything_is_done():
    done = _process("train events >&-")
    assert (done.returncode, done.stderr) == (2, "twofold: standard output is closed\n")


@pytest.mark.parametrize(("argv", "code"), [("bin/twofold", 130), ("-m", 130), ("bin/other", 1)])
def test_an_interrupt_while_the_command_starts_ends_without_a_traceback(argv, code):
    """The interrupt comes while JAX is imported. Programs that use the library get their `KeyboardInterrupt`."""
    program = f"""
import signal, sys
sys.argv = [{argv!r}]
class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == "jax":
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                sys.exit("interrupted")
sys.meta_path.insert(0, Interrupting())
import twofold
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "interrupted\n" if code == 1 else "")


def test_a_terminal_that_knows_ascii_alone_gets_its_table():
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = _process("reproduce table4 --d 1 --tokens 4", env=environment)
    assert done.returncode == 0, done.stderr


def test_running_an_experiment_leaves_the_backend_of_matplotlib_alone():
    program = (
        "import matplotlib; matplotlib.use('svg'); from twofold import cli; cli.experiments(); import sys;"
        " assert matplotlib.get_backend().lower() == 'svg' and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_help_of_an_experiment_has_examples(experiment, capsys):
    assert _run("reproduce", experiment, "--help") == 0
    assert f"twofold reproduce {experiment}" in " ".join(capsys.readouterr().out.partition("xample")[2].split())


def test_help_of_training_has_an_example_of_every_task(capsys):
    assert _run("train", "--help") == 0
    examples = " ".join(capsys.readouterr().out.partition("xample")[2].split())
    for task in TASKS:
        assert f"twofold train {task} --" in examples


@pytest.mark.parametrize("task", TASKS)
def test_help_of_a_task_has_its_settings(task, capsys):
    assert _run("train", task, "--help") == 0
    out = capsys.readouterr().out
    for field in dataclasses.fields(TASKS[task]):
        assert re.search(rf"--{field.name.replace('_', '-')}[ ,]", out)
    assert "--out " in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("reproduce table9", "table9"),
        ("reproduce table1 --seeds 0", "seeds is 0"),
        ("reproduce table1 --recipe slow", "slow"),
        ("reproduce table2 --seeds 0", "seeds is 0"),
        ("reproduce training --seconds -1", "seconds is -1"),
        ("train classification --mixer mamba", "mamba"),
        ("train classification --dataset Nothing", "unknown dataset 'Nothing'"),
        ("train classification --heads 5", "num_heads = 5"),
        ("train classification --steps many", "steps"),
        ("train classification --out", "--out"),
        ("train forecasting --dataset Nothing", "Nothing"),
        ("train forecasting --csv missing.csv", "missing.csv cannot be read"),
        ("train forecasting --horizon 0", "horizon is 0"),
        ("train forecasting --horizon 96.5", "96.5"),
        ("train forecasting --dataset eustock --horizon 720", "can be 186 at most"),
        ("train forecasting --target x", "target is 'x'"),
        ("train forecasting --no-header", "header is False, which is for --csv"),
        ("train forecasting --split ett", "28800 observations are needed, 20 months; elecdemand has 17520"),
        ("train forecasting --memory nan", "memory is nan"),
        ("train events --dataset Nothing", "unknown dataset 'Nothing'"),
        ("train events --dataset missing.csv", "missing.csv"),
        ("train events --unit 0", "unit is 0.0"),
        ("train events --learning-rate inf", "learning_rate is inf"),
        ("train control --dataset nothing", "there is no data set 'nothing'"),
        ("train control --env humanoid", "humanoid"),
        ("train control --context 0", "context is 0"),
        ("data control --steps 0", "steps is 0"),
        ("data control --env inverted-pendulum", "twofold has no behaviour policies of inverted-pendulum; --search"),
        ("data weather", "weather"),
        ("train", "subcommand"),
        ("train regression", "regression"),
        ("reproduce settings --seeds 0", "seeds is 0"),
        ("reproduce settings --only regression", "regression"),
        ("reproduce efficiency --tokens 0", "tokens is 0"),
        ("reproduce literature --data nothing", "nothing has none of the data sets"),
        ("evaluate runs/nothing", "runs/nothing"),
        ("export runs/nothing model.onnx", "runs/nothing"),
        ("export runs/nothing model.onnx --verify -1", "verify is -1"),
        ("dream", "dream"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, message, capsys, tmp_path):
    assert _run(*arguments.split()) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert "Traceback" not in out + err
    assert list(tmp_path.iterdir()) == []


SIZES = "--mixer gru --width 8 --depth 1 --steps 2 --batch 4 --measurements 1"
TINY = {
    "forecasting": "--dataset eustock --horizon 4 --context 8 --patch 4",
    "events": "--dataset sin --sequences 30 --events 6",
    "classification": "--dataset BasicMotions",
    "control": "--env inverted-pendulum --dataset small-v0 --window 8",
}
FOLDERS = {
    "forecasting": "eustock-4-gru",
    "events": "sin-gru",
    "classification": "BasicMotions-gru",
    "control": "small-v0-gru",
}


@pytest.fixture
def trained(capsys):
    """`trained(task)` is what the command prints that trains a tiny model in the folder of its name."""

    def train(task, *options):
        assert _run("train", task, *f"{TINY[task]} {SIZES}".split(), *options) == 0
        return capsys.readouterr().out

    return train


def rows(printed):
    return [line for line in printed.splitlines() if "│" in line]


@pytest.mark.parametrize("task", TASKS)
def test_a_run_is_trained_and_evaluated_again(task, trained, capsys, tmp_path, write_control, monkeypatch):
    if task == "control":
        write_control(tmp_path)
        monkeypatch.setattr(control, "CLONING_STEPS", 10)
    printed = trained(task)
    folder = tmp_path / "runs" / FOLDERS[task]
    assert json.loads((folder / "metrics.json").read_text())["data"] in " ".join(printed.split())
    assert f"are in runs/{FOLDERS[task]}." in " ".join(printed.split())
    assert _run("evaluate", str(folder)) == 0
    assert rows(capsys.readouterr().out) == rows(printed)
    assert "test" in " ".join(rows(printed))


def test_a_run_is_exported_and_verified(trained, capsys, tmp_path):
    with jax.enable_x64(False):
        trained("classification", "--out", "mine")
        for form, tokens in ([], 40), (["--prefill"], 65):
            assert _run("export", "mine", "model.onnx", "--verify", "40", *form) == 0
            assert (
                f"Over {tokens} tokens, the answers of ONNX Runtime differ from those of JAX by"
                in capsys.readouterr().out
            )
        assert _run("export", "mine", "model.pt") == 2
    assert "its name must end in .onnx" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "model.onnx"]


def test_damage_is_reported_and_other_settings_are_refused(trained, capsys, tmp_path):
    folder = tmp_path / "mine"
    trained("classification", "--out", str(folder))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert _run("train", "classification", "--dataset", "BasicMotions", "--out", str(folder)) == 2
    assert "mine holds another run" in capsys.readouterr().err
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert _run("evaluate", str(folder)) == 2
    assert "model.safetensors is truncated or damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (FloatingPointError("the training loss became NaN by step 3"), 1, "twofold: the training loss became NaN"),
        (KeyboardInterrupt(), 130, "interrupted; the same command continues the run"),
    ],
)
def test_training_that_fails_or_is_interrupted_is_one_sentence(error, code, message, monkeypatch, capsys):
    def fit(*args, **options):
        raise error

    monkeypatch.setattr(run, "fit", fit)
    assert _run("train", "events", *TINY["events"].split()) == code
    out, err = capsys.readouterr()
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in out + err


def test_the_loss_of_another_process_ends_this_one_at_once(monkeypatch, capsys):
    """Without the end of JAX, which would wait for the one that was lost."""

    def lost(words):
        raise ConnectionError("another process of this training has ended")

    class Ended(Exception):
        pass

    def end(code):
        raise Ended(code)

    monkeypatch.setattr(cli, "_run", lost)
    monkeypatch.setattr(cli.os, "_exit", end)
    with pytest.raises(Ended, match="2"):
        cli.main([])
    assert capsys.readouterr().err.strip() == "twofold: another process of this training has ended"
