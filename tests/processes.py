"""Starts tests/training_run.py, in one process or in several that train together."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("training_run.py")


def start(*arguments: object, script: Path = SCRIPT, **options: object) -> subprocess.Popen:
    """One process, with one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GAMLIB_PROFILE": "smoke"} | options.pop("env", {})
    command = [sys.executable, "-W", "error", str(script), *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
    )


def start_together(world: int, *arguments: object, script: Path = SCRIPT) -> list[subprocess.Popen]:
    """As torchrun does it, with a port that is free; one process alone is started without it."""
    if world == 1:
        return [start(*arguments, script=script)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
    shared["LOCAL_WORLD_SIZE"] = str(world)
    return [
        start(*arguments, script=script, env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(world)
    ]


def ended(process: subprocess.Popen) -> tuple[int, dict[str, object], str]:
    """The exit code, what it told, and its standard error."""
    out, err = process.communicate(timeout=300)
    lines = out.strip().splitlines()
    told = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return process.returncode, told, err
