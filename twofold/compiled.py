"""Compiled programs that the command keeps for its next start."""

import os
from pathlib import Path

import jax


def keep_compiled() -> None:
    """Let JAX read programs that an earlier process compiled, and keep those that this process compiles.

    They are in the user's cache folder, or where `JAX_COMPILATION_CACHE_DIR` says. Programs for another processor, or of
    another version of JAX, are not read. Where the folder cannot be written, everything is compiled as ever.
    """
    if jax.config.values["jax_compilation_cache_dir"] is None:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "twofold", "compiled")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return
        if os.access(folder, os.W_OK):
            jax.config.update("jax_compilation_cache_dir", str(folder))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
