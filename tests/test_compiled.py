"""A second process reads what the first one compiled, and one that cannot write compiles as ever."""

import os
import subprocess
import sys

PROGRAM = """
import jax
from twofold.compiled import keep_compiled
keep_compiled()
print(jax.jit(lambda x: jax.numpy.sin(x) + 1)(2.0), jax.config.jax_compilation_cache_dir)
"""


def ran(**variables: str) -> str:
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "true", **variables}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment)
    assert "Error" not in done.stderr
    return done.stdout.strip()


def test_programs_are_kept_for_the_next_process(tmp_path):
    first = ran(XDG_CACHE_HOME=str(tmp_path))
    folder = tmp_path / "twofold" / "compiled"
    written = {file: file.stat().st_mtime_ns for file in folder.glob("*-cache")}
    assert written
    assert ran(XDG_CACHE_HOME=str(tmp_path)) == first
    assert {file: file.stat().st_mtime_ns for file in folder.glob("*-cache")} == written


def test_a_folder_of_the_users_own_choice_stays(tmp_path):
    assert ran(JAX_COMPILATION_CACHE_DIR=str(tmp_path)).endswith(str(tmp_path))


def test_nothing_is_kept_where_no_folder_can_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    assert ran(XDG_CACHE_HOME=str(tmp_path / "file")).endswith("None")
