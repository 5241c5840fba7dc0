"""make mutants: puts one fault at a time into a copy of the tree; some test must notice each.

    python -m tests.mutants.run [WORD ...]   only faults whose file or text holds one of the words

``list.toml`` has the faults. Exit code 1: a fault survived; 2: the list does not fit the code, or
the tests it names fail without any fault.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("list.toml")
WORKERS = int(os.environ.get("WORKERS", "2"))
LIMIT = 600
"""Seconds for the tests of one fault; one that hangs is noticed as well."""
PASSED, FAILED = 0, 1
"""Exit codes of pytest; any other one says that the tests did not run."""


@dataclass(frozen=True)
class Mutant:
    """One fault: in ``file`` the text ``old`` (part of one line, there once) becomes ``new``.

    ``tests``: what pytest is given; at least one of them must fail.
    """

    fault: str
    file: str
    old: str
    new: str
    tests: list[str]

    def misfit(self, root: Path) -> str:
        """Why it cannot be applied below ``root``; empty if it can."""
        path = root / self.file
        if not path.is_file():
            return f"{self.file} is gone"
        if "\n" in self.old + self.new or self.old == self.new:
            return f"{self.old!r} must differ from the new text, and both be within one line"
        count = path.read_text().count(self.old)
        if count != 1:
            return f"{self.old!r} is {count} times in {self.file}, not once"
        for test in self.tests:
            name, _, function = test.partition("::")
            function = function.partition("[")[0]
            written = (root / name).read_text() if (root / name).is_file() else ""
            if not re.search(rf"^def {function or 'test_'}", written, re.M):
                return f"no test {test}"
        return "" if self.tests else "no test is named"


def mutants() -> list[Mutant]:
    """The list, in its order."""
    return [Mutant(**entry) for entry in tomllib.loads(LIST.read_text())["mutant"]]


@contextmanager
def applied(mutant: Mutant, root: Path) -> Iterator[None]:
    """The fault is in the tree below ``root``; afterwards the file is as it was, its time too."""
    path = root / mutant.file
    sound, times = path.read_text(), path.stat()
    path.write_text(sound.replace(mutant.old, mutant.new))
    try:
        yield
    finally:
        path.write_text(sound)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def copy_tree(target: Path) -> None:
    """What git lists, and links to the installed tools that tests look for."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    for name in (".venv-label-studio", ".build"):
        if (ROOT / name).exists():
            (target / name).symlink_to(ROOT / name)


def pytest(root: Path, tests: Sequence[str], *, sound: bool = False) -> tuple[int, str]:
    """(exit code, output) of these tests over the tree below ``root`` until the first fails; a
    ``sound`` tree has no fault, keeps compiled files, and may take its time."""
    environment = {
        "CORELOOP_DATA": str(ROOT.parent / "shared"),
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(root),
    }
    if sound:
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
    else:  # compiled files go by the second: a fault must never be taken for the sound file
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=None if sound else LIMIT,
        )
    except subprocess.TimeoutExpired as stopped:
        return FAILED, f"stopped after {stopped.timeout} s"
    return done.returncode, done.stdout + done.stderr


def outcome(mutant: Mutant, root: Path) -> str:
    """``killed``, ``survived`` or ``error`` and why."""
    with applied(mutant, root):
        code, output = pytest(root, mutant.tests)
    if code == PASSED:
        return "survived"
    return "killed" if code == FAILED else f"error: pytest left with {code}\n{output[-2000:]}"


def run(chosen: Sequence[Mutant]) -> dict[str, str]:
    """Fault -> outcome, printed as they come; each worker has a copy of the tree."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(WORKERS):
            copy = Path(folder) / str(number)
            copy_tree(copy)
            copies.put(copy)
        first = copies.get()
        named = sorted({test for mutant in chosen for test in mutant.tests})
        code, output = pytest(first, named, sound=True)
        if code != PASSED:
            print(f"without any fault the tests fail\n{output[-4000:]}")
            sys.exit(2)
        copies.put(first)

        def judge(mutant: Mutant) -> tuple[str, str]:
            root, began = copies.get(), time.perf_counter()
            try:
                result = outcome(mutant, root)
            finally:
                copies.put(root)
            seconds = time.perf_counter() - began
            print(f"{result:8} {seconds:5.1f} s  {mutant.file}: {mutant.fault}", flush=True)
            return mutant.fault, result

        with ThreadPoolExecutor(WORKERS) as pool:
            return dict(pool.map(judge, chosen))


def main(words: Sequence[str]) -> int:
    """Judges the chosen faults; the exit code."""
    chosen = [m for m in mutants() if not words or any(w in f"{m.file}: {m.fault}" for w in words)]
    misfits = [f"{m.fault}: {why}" for m in chosen if (why := m.misfit(ROOT))]
    if misfits or not chosen:
        print("\n".join(["tests/mutants/list.toml does not fit the code", *misfits]))
        return 2
    results = list(run(chosen).values())
    killed = results.count("killed")
    print(f"{killed} of {len(chosen)} killed")
    if killed == len(chosen):
        return 0
    return 1 if killed + results.count("survived") == len(chosen) else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
