"""What `pip install` of a built wheel gives: all files of the source, and a program that needs no
other.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from stanley.models.packing import PRETRAINED

ROOT = Path(__file__).parents[1]
BUILT_FROM = ("src", "pyproject.toml", "README.md", "LICENSE")


def built(source: Path, out: Path) -> Path:
    """The wheel of a source tree, by the backend that pip calls."""
    pytest.importorskip("hatchling", reason="the extra test is not installed")
    words = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", out]
    done = subprocess.run(words, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    return wheel


def missing(wheel: Path) -> set[str]:
    """The files of the package that are not in the wheel."""
    src = ROOT / "src"
    files = {
        path.relative_to(src).as_posix()
        for path in (src / "stanley").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return files - set(zipfile.ZipFile(wheel).namelist())


class Installed:
    """An environment that has the wheel, and of the tests' own environment the packages that it
    needs, but not its way to the source.
    """

    def __init__(self, wheel: Path, home: Path) -> None:
        self.home = home / "env"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.home], check=True)
        self.bin = self.home / ("Scripts" if os.name == "nt" else "bin")
        words = ["--python", self.bin / "python", "install", "--no-deps", "--no-index", wheel]
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *words]
        subprocess.run(pip, check=True)
        # after the installation, so that pip sees no other stanley. A path that a .pth file adds
        # has its own .pth files left unread, and one of them is the way to the source.
        self.packages = next(self.home.rglob("site-packages"))
        paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (self.packages / "dependencies.pth").write_text("\n".join(sorted(paths)) + "\n")
        self.folder = home / "elsewhere"
        self.folder.mkdir()

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        own = {"PATH": os.defpath, "HOME": str(self.home), "OMP_NUM_THREADS": "1"}
        command = [str(self.bin / program), *words]
        return subprocess.run(command, cwd=self.folder, env=own, capture_output=True, text=True)

    def file(self, name: str) -> Path:
        return self.packages / "stanley" / name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(wheel, tmp_path_factory.mktemp("installed"))


def test_a_wheel_has_every_file_of_the_package(wheel: Path):
    assert missing(wheel) == set()
    others = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name.partition("-")[0] for name in others} == {"stanley"}


def test_negative_control_a_file_that_is_left_out_is_missed(tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name)
        else:
            shutil.copy(ROOT / name, source)
    project = source / "pyproject.toml"
    packages = 'packages = ["src/stanley"]'
    assert packages in project.read_text()
    text = project.read_text().replace(packages, f'{packages}\nexclude = ["*.safetensors"]')
    project.write_text(text)
    lost = missing(built(source, tmp_path))
    assert "stanley/features/weights/mnist.safetensors" in lost
    assert all(name.endswith(".safetensors") for name in lost)


def test_an_installed_wheel_works(installed: Installed):
    """The command, each model that comes along, the classifiers, a run and its page: none of them
    sees the source, which the last lines make sure of.
    """
    where = installed.run("python", "-c", "import stanley; print(stanley.__file__)")
    assert Path(where.stdout.strip()).is_relative_to(installed.home), where.stderr
    train = ["train", "rings", "--steps", "2", "--save-every", "2", "--out", "run"]
    told = installed.run("stanley", *train)
    assert told.returncode == 0, told.stderr
    assert "<html" in (installed.folder / "run" / "index.html").read_text()
    code = (
        "import stanley; from stanley.features import features_named\n"
        "for name in stanley.PRETRAINED: print(name, tuple(stanley.pretrained(name).event_shape))\n"
        "for name in ('cifar', 'mnist'): print(features_named(name).name)"
    )
    found = installed.run("python", "-c", code)
    assert found.returncode == 0, found.stderr
    names = [line.split()[0] for line in found.stdout.splitlines()]
    assert names == [*PRETRAINED, "cifar", "mnist"]
    sample = ["sample", "--pretrained", "mnist", "--num", "1", "--steps", "1"]
    drawn = installed.run("stanley", *sample)
    assert drawn.returncode == 0, drawn.stderr
    assert list((installed.folder / "samples").rglob("*.png"))

    # without its own files it does not go on with those of the source
    installed.file("reports/templates/base.html").unlink()
    installed.file("models/pretrained_models/mnist/model.safetensors").unlink()
    for words, lost in (
        ([*sample, "--seed", "1"], "pretrained_models/mnist"),
        (["report", "run", "--out", "again.html"], "base.html"),
    ):
        refused = installed.run("stanley", *words)
        assert refused.returncode != 0
        assert lost in refused.stderr
