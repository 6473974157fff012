"""Builds the packages, checks what is in them, checks types, and runs the tests with the installed wheel.

It needs requirements-dev.txt, and the path of the server in SERVER_PROGRAM. Arguments are those of pytest.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import List

FOLDER = Path(__file__).parent
GENERATED = {"_contract.py", "_client_blocking.py", "_transport_blocking.py"}


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        site, readme = folder / "site", folder / "readme"
        run("build", "--no-isolation", "--outdir", temporary)
        (sdist,) = folder.glob("*.tar.gz")
        (wheel,) = folder.glob("*.whl")
        check_contents(sdist, wheel)
        run("pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel))
        os.environ["PYTHONPATH"] = str(site)
        run("mypy")
        programs = write_programs(readme)
        run("mypy", "--config-file", str(FOLDER / "pyproject.toml"), *programs, MYPYPATH=str(site))
        run("pytest", "--quiet", *sys.argv[1:])
        print(f"{wheel.name}: {wheel.stat().st_size} bytes; {len(programs)} programs of the README have the right types")


def run(module: str, *arguments: str, **environment: str) -> None:
    command = [sys.executable, "-m", module, *arguments]
    subprocess.run(command, cwd=FOLDER, check=True, env={**os.environ, **environment})


def check_contents(sdist: Path, wheel: Path) -> None:
    with tarfile.open(sdist) as archive:
        in_sdist = {Path(name).name for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as archive_:
        in_wheel = archive_.namelist()
    wanted = {*GENERATED, "py.typed", "__init__.py"}
    for missing in wanted - {Path(name).name for name in in_wheel}:
        raise SystemExit(f"{missing} is not in the wheel")
    for missing in {*wanted, "generate.py", "README.md", "LICENSE-MIT", "LICENSE-APACHE", "pyproject.toml"} - in_sdist:
        raise SystemExit(f"{missing} is not in the source distribution")
    for odd in [name for name in in_wheel if not re.match(r"callhistory(-[0-9.]+\.dist-info)?/", name)]:
        raise SystemExit(f"{odd}: not for the wheel")


def write_programs(folder: Path) -> List[str]:
    """The programs of the README, each as a file."""
    folder.mkdir()
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    paths = []
    for at, program in enumerate(re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)):
        path = folder / f"readme_{at}.py"
        path.write_text(program, encoding="utf-8")
        paths.append(str(path))
    if len(paths) < 5:
        raise SystemExit("the README has too few programs")
    return paths


if __name__ == "__main__":
    main()
