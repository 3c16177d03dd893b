"""squashfuse for an ordinary user's container, which ends with that container."""

import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from .reporting import fatal

_POLL_S = 0.005
_NOT_FOR_US = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def mount(image: Path, offset: int, target: Path) -> None:
    """Mount a squashfs for as long as this process lives, which becomes the container.

    squashfuse is in the container's mount namespace, which lasts as long as a process is in it, so it would wait for
    its own end. A process beside it waits for the container's end and kills it. Both are nobody's children that the
    container knows: it may count, await or end what is below it.
    """
    container = os.pidfd_open(os.getpid())
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if os.fork() == 0:
            _serve(image, offset, target, container=container, answers=writing)
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    os.close(container)
    with os.fdopen(reading, errors="replace") as answers:
        problem = answers.read()
    if problem:
        fatal(f"squashfuse: {problem}")


def _serve(image: Path, offset: int, target: Path, *, container: int, answers: int) -> NoReturn:
    try:
        _keep_only(container, answers)
        # Slurm and terminals signal every process of a job; the container decides when it ends.
        for number in _NOT_FOR_US:
            signal.signal(number, signal.SIG_IGN)
        command = ["squashfuse", "-f", "-o", f"offset={offset},ro", str(image), str(target)]
        before = target.stat().st_dev
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as squashfuse:
            while squashfuse.poll() is None and target.stat().st_dev == before:
                time.sleep(_POLL_S)
            if squashfuse.poll() is not None:
                os.write(answers, (squashfuse.stderr and squashfuse.stderr.read().strip()) or b"it has ended")
            os.close(answers)
            ends = select.poll()
            ends.register(container, select.POLLIN)
            ends.poll()
            squashfuse.kill()
    finally:
        os._exit(0)


def _keep_only(*descriptors: int) -> None:
    """Let go of what the container inherited, such as pipes whose readers wait for their end."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    for entry in list(Path("/proc/self/fd").iterdir()):
        if int(entry.name) > 2 and int(entry.name) not in descriptors:
            with suppress(OSError):  # the one that listed them
                os.close(int(entry.name))
    os.chdir("/")
