"""The command line as a person uses it: separate processes, exit codes, one-line errors."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from stanley.cli import app, main
from stanley.cli.field_help import KINDS, OPTIONAL
from stanley.cli.usage import EXAMPLES, WORDS
from stanley.data import AnyData
from stanley.field_help import fields_of, kinds_of
from stanley.networks import AnyNetwork
from stanley.samplers import AnySampler, Quantile, RobbinsMonro
from stanley.training.augment import Augment
from stanley.training.config import TrainConfig
from stanley.training.objectives import AnyObjective
from stanley.training.objectives.contrastive import Growth
from stanley.training.optim import AnyOptimizer
from stanley.training.recipes import recipe

SMALL = [
    *("--steps", "12", "--batch", "32", "--objective.chain-steps", "3", "--save-every", "6"),
    *(
        "--network.width",
        "16",
        "--objective.bank-size",
        "64",
        "--device",
        "cpu",
        "--reference-std",
        "4",
    ),
]
TOY = ["--data.num", "2000"]


def stanley(*arguments: str, cwd: Path, check: int | None = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "stanley", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert check is None or done.returncode == check, done.stderr
    return done


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    stanley("train", "rings", "--out", "runs/a", *SMALL, *TOY, cwd=folder)
    return folder


def test_help_answers_without_torch(tmp_path: Path) -> None:
    """--help of the program and of every command imports neither torch nor numpy nor pydantic."""
    script = (
        "import sys\nfrom stanley.cli import main\ncommands = 'train sample diagnose evaluate plot"
        " recipes targets demo studio inpaint denoise compose ood '\ncommands += 'pack push pull"
        " export features'\nfor words in ([], *([c] for c in commands.split())):\n    try:"
        " main([*words, '--help'])\n    except SystemExit as end: assert not end.code\nheavy ="
        " {'torch', 'numpy', 'pydantic', 'scipy', 'matplotlib'} & set(sys.modules)\nassert not"
        " heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    flags = (
        "--out --seed --steps --batch --objective.chain-steps --save-every --device"
        " --data.root --data.path"
    )
    for flag in [
        *flags.split(),
        "--sampler.step-size",
        "--sampler.threshold",
        "--target",
        "--shape",
        "--pairs",
    ]:
        assert flag in done.stdout


def test_help_shows_how_a_command_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    """What is required stands in the usage line; the examples stand last, a line each,
    and are understood.
    """
    commands = {name for name in app if not name.startswith("-")} - {"features"}
    assert {*commands, "features train"} == set(WORDS) == set(EXAMPLES)
    for name, words in WORDS.items():
        with pytest.raises(SystemExit):
            main([*name.split(), "--help"])
        told = capsys.readouterr().out.partition("\nFields of the configuration")[0]
        usage, examples = told.strip().partition("\n")[0], told.rpartition("╯")[2].split("\n")
        assert usage == f"Usage: stanley {name} {words}"
        assert [line.strip() for line in examples if line.strip()][1:] == [*EXAMPLES[name]]
        for example in EXAMPLES[name]:
            start, *rest = shlex.split(example.partition(" > ")[0])
            command, bound, _ = app.parse_args(rest, exit_on_error=False, print_error=False)
            assert start == "stanley"
            assert command.__name__ == name.split()[-1]
            unknown = [
                word for word in bound.args if isinstance(word, str) and word.startswith("--")
            ]
            assert all(flag.split(".")[0] in ("--sampler", "--data") for flag in unknown), unknown
        for flag, parameter in inspect.signature(command).parameters.items():
            required = (
                parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
            )
            assert not required or f"--{flag}" in words


def fields_by_import(kind: type) -> dict[str, str]:
    """Name -> default, as a configuration writes it, by the classes themselves."""
    found = {}
    for field in dataclasses.fields(kind):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory().kind
        if isinstance(default, Quantile):
            default = f"quantile {default.quantile}"
        if isinstance(default, tuple):
            default = "[" + ", ".join(map(str, default)) + "]"
        plain = default is None or isinstance(default, bool)
        text = json.dumps(default) if plain else str(default)
        found[field.name] = "" if default is dataclasses.MISSING else text
    found.pop("kind", None)
    return found


def test_help_of_train_shows_every_field_with_its_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is read from the source is what the classes are; every field has its line."""
    parts = {
        "data": AnyData,
        "network": AnyNetwork,
        "sampler": AnySampler,
        "optimizer": AnyOptimizer,
        "objective": AnyObjective,
    }
    pairs = [("", "training/config.py", TrainConfig)]
    held = {
        "objective.growth": Growth,
        "objective.augment": Augment,
        "objective.adapt": RobbinsMonro,
    }
    pairs += [(name, OPTIONAL[name][0], kind) for name, kind in held.items()]
    for part, union in parts.items():
        members = {kind.kind: kind for kind in get_args(union) or (union,)}
        there = {kind: where for kind, where, _ in kinds_of(*KINDS[part])}
        assert set(there) == set(members)
        pairs += [(part, where, members[kind]) for kind, where in there.items()]
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    told = capsys.readouterr().out
    for part, module, kind in pairs:
        found = fields_of(module, kind.__name__)
        assert {field.name: field.default for field in found} == fields_by_import(kind), kind
        for field in found:
            assert field.about, (kind, field.name)
            flag = f"--{part}.{field.name}" if part else f"--{field.name}"
            assert f"{flag.replace('_', '-')} {field.default}".rstrip() in told
    assert all(field.group for field in fields_of("training/config.py", "TrainConfig"))


def test_help_of_the_program_says_where_answers_go(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "inpainted/mnist" in capsys.readouterr().out


def test_train_writes_a_run(trained: Path) -> None:
    run = trained / "runs/a"
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == list(range(1, 13))
    config = json.loads((run / "config.json").read_text())
    assert config["network"]["width"] == 16
    assert config["sampler"]["kind"] == "mala-with-jumps"


def test_the_same_command_again_resumes(trained: Path) -> None:
    before = (trained / "runs/a/records.jsonl").read_bytes()
    stanley("train", "rings", "--out", "runs/a", *SMALL, *TOY, cwd=trained)
    assert (trained / "runs/a/records.jsonl").read_bytes() == before


def test_a_finished_run_says_so(
    tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    request = ["train", "rings", "--out", "a", *TOY, *SMALL]
    assert run(capsys, *request)[0].startswith("done: step 12 ")
    again = run(capsys, *request)[0]
    assert again.startswith("nothing was left to do: step 12 ")
    assert "--steps 24" in again
    assert json.loads(run(capsys, *request, "--json")[0])["trained"] is False
    more = ["train", "rings", "--out", "a", *TOY, *SMALL[2:], "--steps", "18"]
    told, warned = run(capsys, *more)
    assert told.startswith("done: step 18 ")
    assert "resuming with changed steps: 12 → 18" in warned


def test_a_run_that_never_left_its_warm_up_is_told_so(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    warned = run(capsys, "train", "rings", "--out", "a", *TOY, *SMALL, "--warmup", "12")[1]
    assert "12 steps are no more than the warm-up (12)" in warned
    assert (
        "warm-up"
        not in run(capsys, "train", "rings", "--out", "b", *TOY, *SMALL, "--warmup", "11")[1]
    )


def test_an_untrained_run_is_judged_with_a_warning(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["train", "rings", "--out", "a", *TOY, *SMALL, "--objective.gap-limit", "1e-9"])
    assert end.value.code
    assert "diverged at step 1" in capsys.readouterr().err
    told, warned = run(capsys, "evaluate", "a", "--num", "20", "--steps", "2")
    assert "a is at step 0" in warned
    assert "stanley plot" not in told


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    """What a command that succeeds prints and warns of, in this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with pytest.raises(SystemExit) as end:
            main(words)
    told = capsys.readouterr()
    assert not end.value.code, told.err
    return told.out, told.err


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    return capsys.readouterr().err


def test_numbers_of_another_request_are_kept(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The newest answer has the plain name; that of another request is named."""
    shutil.copytree(
        trained / "runs/a",
        tmp_path / "a",
        ignore=shutil.ignore_patterns("scores*", "samples", "diag*"),
    )
    monkeypatch.chdir(tmp_path)

    def kept(name: str, field: str) -> dict[str, int]:
        return {
            f.stem: json.loads(f.read_text())["asked"][field]
            for f in (tmp_path / "a").glob(f"{name}*.json")
        }

    def scored(num: int) -> str:
        return run(capsys, "evaluate", "a", "--num", str(num), "--steps", "2")[1]

    def estimated(levels: int) -> str:
        return run(
            capsys, "likelihood", "a", "--chains", "4", "--rows", "4", "--levels", str(levels)
        )[1]

    assert "kept" not in scored(5) + scored(5)
    before = (tmp_path / "a/samples/evaluated.npz").read_bytes()
    told = (
        "warning: kept the former answer (num 5, now 6) as a/scores-former.json, and"
        " evaluated-former.npz\n"
    )
    assert told in scored(6)
    assert kept("scores", "num") == {"scores": 6, "scores-former": 5}
    assert (tmp_path / "a/samples/evaluated-former.npz").read_bytes() == before
    assert "kept" not in estimated(3)
    assert "kept the former answer (levels 3, now 4) as a/likelihood-former.json" in estimated(4)
    assert kept("likelihood", "levels") == {"likelihood": 4, "likelihood-former": 3}


def test_samples_of_another_request_are_kept(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All files of the former answer get its name; the same request again replaces its own."""
    monkeypatch.chdir(tmp_path)
    every = ("--out", "s", "--num", "3", "--keep-every", "2")
    of_run = ("sample", str(trained / "runs/a"), *every, "--steps")
    of_density = (
        "sample",
        "--target",
        "banana",
        "--sampler",
        "mala",
        *every,
        "--steps",
        "4",
        "--warm-up",
    )
    for words, name, differs in (
        (of_run, "noise-n3-seed0", "steps 5, now 6"),
        (of_density, "mala-n3-seed0", "warm_up 5, now 6"),
    ):
        assert "kept" not in run(capsys, *words, "5")[1] + run(capsys, *words, "5")[1]
        first = {path.name: path.read_bytes() for path in (tmp_path / "s").glob(f"{name}*")}
        assert set(first) == {f"{name}{rest}" for rest in (".json", ".npy", ".png", "-every-2.npy")}
        told = run(capsys, *words, "6")[1]
        assert f"kept the former answer ({differs}) as s/{name}-former.json, and " in told
        for file, content in first.items():
            stem, _, suffix = file.rpartition(".")
            assert (tmp_path / "s" / f"{stem}-former.{suffix}").read_bytes() == content
        run(capsys, *words, "5")  # back to the first: the second is kept as well
        assert (tmp_path / "s" / f"{name}.npy").read_bytes() == first[f"{name}.npy"]
        assert len(list((tmp_path / "s").glob(f"{name}*"))) == 12


def test_a_command_that_was_killed_while_it_wrote_finds_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = (
        "sample",
        "--target",
        "banana",
        "--sampler",
        "mala",
        "--num",
        "3",
        "--steps",
        "4",
        "--warm-up",
        "5",
    )
    run(capsys, *words)
    folder = tmp_path / "samples/banana"
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # when the array is there and no picture
        patch.setattr("stanley.plots.figures.write_atomic", killed)
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 130
    assert {path.suffix for path in folder.iterdir()} == {".json", ".npy"}
    assert json.loads((folder / "mala-n3-seed0.json").read_text())["unfinished"]
    assert "kept" not in run(capsys, *words)[1]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


def test_files_of_others_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "samples/banana").mkdir(parents=True)
    mine = tmp_path / "samples/banana/mala-n3-seed0.npy"
    mine.write_text("mine")
    told = run(
        capsys, "sample", "--target", "banana", "--sampler", "mala", "--num", "3", "--steps", "4"
    )[1]
    assert (
        "(to a request that is not written down) as samples/banana/mala-n3-seed0-former.npy" in told
    )
    assert mine.with_name("mala-n3-seed0-former.npy").read_text() == "mine"


def test_a_demo_is_a_comparison_that_more_seeds_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stanley.cli.demo.ARMS", {"Langevin": {"sampler": "langevin"}})
    words = ("demo", "--out", "d", "--steps", "30", "--workers", "1")
    out = run(capsys, *words)[0]
    assert "seed 0, n = 1; three seeds and more are tested" in out
    assert "figure: d/samples.png" in out
    (first,) = (tmp_path / "d").glob("runs/*/*/*")
    before = (first / "records.jsonl").read_bytes()
    assert "seeds 0 to 1, n = 2" in run(capsys, *words, "--seeds", "2")[0]
    assert (first / "records.jsonl").read_bytes() == before
    assert "n = 2" in run(capsys, "compare", "d")[0]
    failure = refused(capsys, *words, "--seed", "1")
    assert "first_seed is 0, now 1; choose another --out" in failure


def test_a_threshold_that_follows_the_gradients_is_told(
    trained: Path, tmp_path: Path, capsys
) -> None:
    flags = (
        "--sampler",
        "stanley",
        "--sampler.step-size",
        "0.1",
        "--num",
        "2",
        "--steps",
        "2",
        "--out",
        str(tmp_path),
    )
    told = run(capsys, "sample", str(trained / "runs/a"), *flags)[0]
    assert told.startswith("stanley, step size 0.1, threshold quantile 0.9 (")


def test_evaluate_sample_and_plot(trained: Path) -> None:
    scores = json.loads(
        stanley("evaluate", "runs/a", "--num", "50", "--steps", "20", "--json", cwd=trained).stdout
    )
    assert scores == json.loads((trained / "runs/a/scores.json").read_text())
    assert scores["kl"] > 0
    assert scores["fresh"]["n"] == 50

    told = json.loads(
        stanley("sample", "runs/a", "--num", "5", "--steps", "20", "--json", cwd=trained).stdout
    )
    array = np.load(trained / told["files"][0])
    assert array.shape == (5, 2)
    assert array.dtype == np.float32

    files = json.loads(stanley("plot", "runs/a", "--json", cwd=trained).stdout)["files"]
    assert {Path(f).stem for f in files} == {
        "curves",
        "energies",
        "traces",
        "autocorrelation",
        "samples",
        "landscape",
    }
    assert all((trained / f).read_bytes().startswith(b"\x89PNG") for f in files)


def test_plot_before_evaluate_draws_the_curves_and_says_what_is_missing(tmp_path: Path) -> None:
    stanley("train", "gmm-contrastive", "--out", "a", *SMALL, *TOY, cwd=tmp_path)
    done = stanley("plot", "a", cwd=tmp_path)
    assert "stanley evaluate a" in done.stdout


def test_recipes_can_be_used_as_a_file(tmp_path: Path) -> None:
    names = json.loads(stanley("recipes", "--json", cwd=tmp_path).stdout)
    assert {"rings", "gmm", "moons", "cifar10", "flowers102", "mnist", "folder", "array"} <= set(
        names
    )
    full = stanley("recipes", "gmm-contrastive", cwd=tmp_path).stdout
    (tmp_path / "mine.yaml").write_text(full)
    stanley(
        "train",
        "gmm-contrastive",
        "--config",
        "mine.yaml",
        "--out",
        "a",
        *SMALL,
        *TOY,
        cwd=tmp_path,
    )


def test_array_from_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32))
    stanley(
        "train", "array-contrastive", "--data.path", "x.npy", "--out", "a", *SMALL, cwd=tmp_path
    )
    stanley("evaluate", "a", "--num", "20", "--steps", "10", cwd=tmp_path)
    stanley("plot", "a", cwd=tmp_path)


def test_folder_of_images(tmp_path: Path) -> None:
    from PIL import Image

    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    flags = [
        "--steps",
        "2",
        "--batch",
        "4",
        "--objective.chain-steps",
        "2",
        "--objective.bank-size",
        "8",
        "--network.width",
        "4",
    ]
    stanley(
        "train",
        "folder-contrastive",
        "--data.path",
        ".",
        "--data.size",
        "16",
        "--out",
        "runs/a",
        *flags,
        cwd=tmp_path,
    )
    stanley("sample", "runs/a", "--num", "4", "--steps", "3", cwd=tmp_path)
    done = stanley(
        "evaluate",
        "runs/a",
        "--num",
        "6",
        "--steps",
        "3",
        "--features",
        "pixels-8x8,pixels",
        cwd=tmp_path,
    )
    assert "n = 2 points with 192 features" in done.stderr  # the two that are held out
    assert "fd_pixels-8x8" in done.stdout
    scores = json.loads((tmp_path / "runs/a/scores.json").read_text())
    for name, k in (("pixels-8x8", 192), ("pixels", 768)):
        found = scores["fresh"][f"fd_{name}"]
        assert (found["n1"], found["n2"], found["num_features"], found["against"]) == (
            6,
            2,
            k,
            "held-out",
        )
    flags = ("--against", "train", "--prdc", "--extrapolate", "--json")
    told = json.loads(
        stanley("evaluate", "runs/a", "--num", "8", "--steps", "3", *flags, cwd=tmp_path).stdout
    )
    fresh = told["fresh"]
    assert (
        fresh["fd_pixels-8x8"]["n2"] == fresh["kd_pixels-8x8"]["n2"] >= 10
    )  # and what sample has drawn into the folder
    assert (fresh["prdc_pixels-8x8"]["num_real"], fresh["prdc_pixels-8x8"]["num_samples"]) == (8, 8)
    assert fresh["fd_pixels-8x8_limit"]["sizes"][-1] == 8
    done = stanley("evaluate", "runs/a", "--features", "pixel", cwd=tmp_path, check=2)
    assert "did you mean 'pixels'" in done.stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    asked = ("evaluate", "../runs/a", "--num", "6", "--steps", "3", "--data.path")
    # --data.path . of the run is not here
    assert "fd_pixels" in stanley(*asked, str(tmp_path), cwd=elsewhere).stdout
    assert "data.path" in stanley(*asked, "gone", cwd=elsewhere, check=2).stderr
    stanley("evaluate", "runs/a", "--num", "6", "--steps", "3", cwd=tmp_path)
    files = stanley("plot", "runs/a", cwd=tmp_path).stdout
    assert "samples.png" in files


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_leaves_a_checkpoint_and_exits_130(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "stanley",
        "train",
        "rings",
        "--out",
        "a",
        *TOY,
        *SMALL[2:],
        "--steps",
        "100000",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    records = tmp_path / "a/records.jsonl"
    began = time.monotonic()
    while not (records.exists() and records.read_text().count("\n") > 20):
        assert time.monotonic() - began < 120
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in error
    assert "resumes" in error
    last = sorted((tmp_path / "a/checkpoints").iterdir())[-1]
    assert int(last.stem.split("-")[1]) == records.read_text().count("\n")


MINE = """
def U(x):
    return (x**2).sum(-1) / 2

def steps(x):
    return x.detach().abs().sum(-1)
"""
QUICK = ["--steps", "40", "--warm-up", "30", "--num", "20"]


def test_sample_of_a_density(tmp_path: Path) -> None:
    """Twice the same file; the step size as it was found stands beside it."""
    (tmp_path / "mine.py").write_text(MINE)
    first = stanley(
        "sample", "--target", "banana", "--sampler", "adjusted-stanley", *QUICK, cwd=tmp_path
    )
    assert "(step size from adapt, 30 steps)" in first.stdout
    path = tmp_path / "samples/banana/adjusted-stanley-n20-seed0.npy"
    x = np.load(path)
    assert x.shape == (20, 2)
    how = json.loads(path.with_suffix(".json").read_text())
    assert how["sampler"]["kind"] == "adjusted"
    assert how["step_size"] == how["sampler"]["proposal"]["step_size"] > 0
    assert how["step_size_from"] == "adapt, 30 steps"
    assert path.with_suffix(".png").exists()
    stanley("sample", "--target", "banana", "--sampler", "adjusted-stanley", *QUICK, cwd=tmp_path)
    np.testing.assert_array_equal(x, np.load(path))
    flags = [
        "--shape",
        "3",
        "--sampler",
        "hmc",
        "--sampler.num-leapfrog",
        "3",
        "--keep-every",
        "10",
        "--json",
    ]
    told = json.loads(
        stanley("sample", "--target", "mine.py:U", *flags, *QUICK, cwd=tmp_path).stdout
    )
    assert told["sampler"]["num_leapfrog"] == 3
    draws = [f for f in told["files"] if f.endswith("-every-10.npy")]
    assert np.load(tmp_path / draws[0]).shape == (4, 20, 3)
    assert len([f for f in told["files"] if f.endswith(".png")]) == 1


OWN = """
import torch
from stanley import Parameters, positive, real

def log_p(x):
    return -x.square().sum() / 2

model = Parameters(mu=real(), tau=positive()).potential(lambda mu, tau: -(mu**2) / 2 - tau)
"""


def test_a_density_is_sampled_until_its_draws_can_be_trusted(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    flags = ["--num", "16", "--warm-up", "150", "--json"]
    log = ["--target", "own.py:log_p", "--log-density", "--shape", "2"]
    told = json.loads(stanley("sample", *log, *flags, cwd=tmp_path).stdout)
    assert told["exact"]
    assert told["converged"]
    assert told["worst"]["rhat"]["value"] < 1.01
    assert told["worst"]["rhat"]["coordinate"] in ("x[0]", "x[1]", "U")
    endings = {Path(f).suffix for f in told["files"]}
    assert endings == {".npy", ".png", ".csv", ".json"}
    told = json.loads(stanley("sample", "--target", "own.py:model", *flags, cwd=tmp_path).stdout)
    (named,) = (f for f in told["files"] if f.endswith(".npz"))
    with np.load(tmp_path / named) as draws:
        assert set(draws) == {"mu", "tau"}
        assert draws["tau"].shape == (16, told["draws_per_chain"])
        assert (draws["tau"] > 0).all()
    assert len([f for f in told["files"] if f.endswith(".png")]) == 1


def test_a_biased_sampler_is_named_and_every_table_has_its_worst(tmp_path: Path) -> None:
    flags = ["--target", "gaussian", "--sampler", "langevin", "--sampler.step-size", "0.1"]
    told = stanley("sample", *flags, *QUICK, "--all", cwd=tmp_path).stdout
    assert "langevin is biased" in told
    assert "--sampler adjusted-langevin" in told
    assert "R̂ at most" in told
    assert "x[9]" in told
    exact = ["--target", "gaussian", "--sampler", "mala"]
    assert "biased" not in stanley("sample", *exact, *QUICK, cwd=tmp_path).stdout


def test_a_step_size_that_is_given_is_kept(tmp_path: Path) -> None:
    flags = ["--sampler", "underdamped", "--sampler.step-size", "0.3", "--json"]
    told = json.loads(
        stanley("sample", "--target", "gaussian", *flags, *QUICK, cwd=tmp_path).stdout
    )
    assert told["sampler"]["step_size"] == 0.3
    assert told["step_size"] == told["sampler"]["step_size"]
    assert told["step_size_from"] == "the sampler itself, after 30 steps of warm-up"


def test_diagnose_a_density(tmp_path: Path) -> None:
    few = ["--pairs", "20", "--rays", "4", "--copies", "20"]
    biased = ["--sampler", "stanley"]
    done = stanley("diagnose", "--target", "quartic", *biased, *QUICK, *few, cwd=tmp_path)
    for word in (
        "R̂",
        "ESS bulk",
        "chains",
        "exact moments",
        "bias",
        "coupling",
        "growth",
        "drift",
    ):
        assert word in done.stdout
    folder = tmp_path / "diagnosis/quartic"
    figures = {p.stem for p in folder.glob("*.png")}
    assert figures == {"mixing", "traces", "autocorrelation", "coupling", "growth", "drift", "bias"}
    assert json.loads((folder / "diagnosis.json").read_text())["sampler"]["kind"] == "stanley"
    done = stanley(
        "diagnose", "--target", "quartic", "--sampler", "hmc", *QUICK, *few, cwd=tmp_path
    )
    assert "cannot be coupled" in done.stdout
    figures = {p.stem for p in folder.glob("*.png")}
    # none of the run before has its plain name
    new = {"mixing", "traces", "autocorrelation", "growth", "drift"}
    former = {"mixing", "traces", "autocorrelation", "coupling", "growth", "drift", "bias"}
    assert figures == new | {f"{name}-former" for name in former}
    former_answer = json.loads((folder / "diagnosis-former.json").read_text())
    assert former_answer["sampler"]["kind"] == "stanley"


def test_diagnose_a_run(trained: Path) -> None:
    few = ["--pairs", "20", "--coupled-steps", "20", "--rays", "4", "--copies", "20", "--json"]
    told = json.loads(stanley("diagnose", "runs/a", *QUICK, *few, cwd=trained).stdout)
    assert told["sampler"]["kind"] == "mala-with-jumps"
    assert told["num_chains"] == 20
    assert told["step_size"] == told["sampler"]["step_size"]
    assert told["step_size_from"] == "the sampler itself, after 30 steps of warm-up"
    other = json.loads(
        stanley("diagnose", "runs/a", "--sampler", "barker", *QUICK, *few, cwd=trained).stdout
    )
    assert other["sampler"]["kind"] == "barker"
    assert other["step_size"] == other["sampler"]["step_size"]
    assert other["step_size_from"] == "adapt, 30 steps"


def test_targets_are_listed(tmp_path: Path) -> None:
    from stanley.targets import ABOUT

    assert json.loads(stanley("targets", "--json", cwd=tmp_path).stdout) == ABOUT


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_while_packages_load(tmp_path: Path) -> None:
    """A package that is interrupted while it is imported, as any of ours could be."""
    (tmp_path / "cyclopts.py").write_text("raise KeyboardInterrupt")
    done = stanley("recipes", cwd=tmp_path, check=130)
    assert done.stderr == "stanley: interrupted\n"


BAD = [
    (["train", "ring"], "did you mean 'rings'"),
    (["trian", "rings"], "train"),
    (["train", "rings", "--stepss", "3"], "did you mean 'steps'"),
    (["train", "rings", "--steps", "many"], "many"),
    (["train", "rings", "--steps", "0"], "steps is 0"),
    (["train", "rings", "--batch", "0"], "batch is 0"),
    (["train", "rings", "--objective.chain-steps", "0"], "objective.chain_steps is 0"),
    (["train", "rings", "--sampler.step-size", "-0.1"], "step_size is -0.1"),
    (["train", "rings", "--sampler.threshold", "1"], "sampler.threshold"),
    (["train", "rings", "--network.width"], "needs a value"),
    (["train", "rings", "--device", "cuda:77"], "not there"),
    (["train", "rings", "--config", "none.yaml"], "none.yaml"),
    (["train", "cifar10", "--data.root", "nowhere"], "nowhere"),
    (["train", "mnist", "--data.root", "."], "data.root"),
    (["train", "folder", "--data.path", "empty"], "empty"),
    (["train", "array", "--data.path", "nan.npy"], "nan.npy"),
    (["train", "array", "--data.path", "flat.npy"], "flat.npy"),
    (["train", "array", "--data.path", "constant.npy"], "constant"),
    (["train", "array"], "data.path"),
    (
        ["train", "rings", "--data.label", "3"],
        "rings data have no labels; those with labels: cifar10, f",
    ),
    (["train", "rings", "--data.kind", "mnistt", "--data.label", "3"], "did you mean 'mnist'"),
    (["sample", "nowhere"], "no such run"),
    (["evaluate", "."], "not a run directory"),
    (["plot", "nowhere"], "no such run"),
    (["recipes", "ring"], "did you mean 'rings'"),
    (["demo", "--steps", "0"], "steps is 0"),
    (["sample"], "or --target"),
    (["sample", "a", "--target", "banana"], "give one"),
    (["sample", "--target", "bananna"], "did you mean 'banana'"),
    (["sample", "--target", "banana", "--weights", "raw"], "changes nothing here"),
    (["sample", "--target", "banana", "--sampler", "stanleyy"], "did you mean 'stanley'"),
    (["sample", "--target", "banana", "--samplr", "mala"], "unknown flag --samplr"),
    (["sample", "--target", "banana", "--nums", "4"], "unknown flag --nums: did you mean 'num'?"),
    (
        ["diagnose", "--target", "banana", "--pair", "4"],
        "unknown flag --pair: did you mean 'pairs'?",
    ),
    (["sample", "--target", "banana", "--steps", "0"], "num_steps is 0"),
    (["sample", "--target", "banana", "--num", "0"], "num is 0"),
    (["sample", "--target", "banana", "--sampler", "underdamped"], "none can be found"),
    (["sample", "--target", "banana", "--sampler", "langevin"], "left the finite numbers"),
    (["sample", "--target", "mine:U"], "--shape"),
    (["sample", "--target", "banana", "--log-density"], "leave out --log-density"),
    (["sample", "--target", "banana", "--steps", "9", "--ess", "5"], "--ess 5.0 changes nothing"),
    (["sample", "--target", "banana", "--num", "2"], "num is 2"),
    (["sample", "--target", "mine:U", "--shape", "two"], "--shape is 'two'"),
    (
        ["sample", "--target", "mine:steps", "--shape", "2", "--sampler", "mala"],
        "does not depend on x",
    ),
    (["diagnose"], "or --target"),
    (["diagnose", "nowhere"], "no such run"),
    (["diagnose", "--target", "banana", "--steps", "3"], "steps is 3"),
    (["diagnose", "--target", "banana", "--num", "1"], "at least 2"),
    (["diagnose", "--target", "banana", "--out", "flat.npy"], "choose another --out"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), BAD, ids=lambda v: " ".join(v) if isinstance(v, list) else ""
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process: starting Python and torch for each would take most of the suite's time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine.py").write_text(MINE)
    x = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    np.save(tmp_path / "flat.npy", x[:, 0])
    np.save(tmp_path / "constant.npy", np.ones_like(x))
    x[7, 1] = np.nan
    np.save(tmp_path / "nan.npy", x)
    with pytest.raises(SystemExit) as end:
        main(arguments)
    told = capsys.readouterr()
    assert end.value.code == 2
    assert told.out == ""
    assert told.err.startswith("stanley: error: ")
    assert told.err.count("\n") == 1, told.err
    assert message in told.err


def test_an_error_of_the_process_is_the_same(tmp_path: Path) -> None:
    done = stanley("train", "ring", cwd=tmp_path, check=2)
    assert done.stderr == "stanley: error: unknown recipe 'ring': did you mean 'rings'?\n"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_folder_that_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    done = stanley("train", "rings", "--out", "locked/a", *SMALL, cwd=tmp_path, check=2)
    assert "cannot create the run directory" in done.stderr


def test_an_out_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    done = stanley("train", "rings", "--out", "a", *SMALL, cwd=tmp_path, check=2)
    assert "cannot create the run directory" in done.stderr


def test_bad_values_leave_nothing_behind(tmp_path: Path) -> None:
    stanley("train", "rings", "--out", "a", "--steps", "0", cwd=tmp_path, check=2)
    assert not (tmp_path / "a").exists()


def test_sampling_more_than_the_bank(trained: Path) -> None:
    done = stanley("sample", "runs/a", "--start", "bank", "--num", "1000", cwd=trained, check=2)
    assert "the bank" in done.stderr
    assert "64" in done.stderr


def test_evaluating_no_samples_is_refused(trained: Path) -> None:
    done = stanley("evaluate", "runs/a", "--num", "0", cwd=trained, check=2)
    assert "num is 0, but must be at least 1" in done.stderr


@pytest.mark.parametrize("flags", [["--num", "3.5"], ["--num", "010"], ["--steps", "2.5"]])
def test_a_fraction_is_refused_not_rounded(trained: Path, flags: list[str]) -> None:
    done = stanley("sample", "runs/a", *flags, cwd=trained, check=2)
    assert f"'{flags[1]}' is not a whole number" in done.stderr


def test_an_out_that_cannot_be_made_for_samples(trained: Path) -> None:
    done = stanley(
        "sample",
        "runs/a",
        "--num",
        "2",
        "--steps",
        "2",
        "--out",
        "runs/a/config.json/x",
        cwd=trained,
        check=2,
    )
    assert done.stderr.count("\n") == 1
    assert "choose another --out" in done.stderr


@pytest.mark.parametrize(
    "flags", [["--seed", str(2**64)], ["--seed", "-1"], ["--num", str(10**15)]]
)
def test_numbers_beyond_reach(trained: Path, flags: list[str]) -> None:
    done = stanley("sample", "runs/a", "--steps", "2", *flags, cwd=trained, check=2)
    assert done.stderr.count("\n") == 1
    assert "2^63" in done.stderr or "out of memory" in done.stderr


def test_a_terminal_without_greek(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the encoding of the output lacks is shown as ?."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = stanley("evaluate", "runs/a", "--num", "20", "--steps", "5", cwd=trained)
    assert "scores.json" in done.stdout
    assert "?" in done.stdout


def test_what_the_rest_of_a_training_takes_is_said_once(capsys: pytest.CaptureFixture[str]):
    """After a slow first iteration each takes 2 s: the line comes with the first of them, when
    1,798 are left, an hour.
    """
    from stanley.cli import training

    config = replace(recipe("rings-contrastive"), steps=1_800)
    records = [{"step": step, "seconds": 2.0 if step > 1 else 2.9} for step in range(1, 1_801)]
    assert list(training.with_time_to_go(iter(records), config)) == records
    said = capsys.readouterr().err
    assert said.count("to go") == 1
    assert "about 60 minutes to go on this machine, at 2 s an iteration; fewer --steps" in said
    assert "fewer --steps or a GPU would take less" in said
    seen = training.with_time_to_go(iter(records), config)
    next(seen)
    assert capsys.readouterr().err == ""
    next(seen)
    assert "to go" in capsys.readouterr().err
    # an iteration that is longer by itself is told of at once, and images have another way out
    of_images = replace(recipe("folder"), steps=1_800)
    next(training.with_time_to_go([{"step": 1, "seconds": 60.0}], of_images))
    said = capsys.readouterr().err
    assert "about 30 hours to go on this machine, at 60 s an iteration" in said
    assert "fewer --steps, a smaller --data.size or a GPU would take less" in said
    two_parts = replace(recipe("moons"), steps=1_800)
    next(training.with_time_to_go([{"step": 1, "seconds": 60.0}], two_parts))
    assert "of the first part, and the chains that follow it take longer" in capsys.readouterr().err
    # negative controls: none, under a minute, and not asked for
    assert not list(training.with_time_to_go([], config))
    list(training.with_time_to_go(records[:30], replace(config, steps=30, warmup=1)))
    list(training.with_time_to_go(records, config, enabled=False))
    assert "to go" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(61, "2 minutes"), (3_000, "50 minutes"), (9_000, "2.5 hours"), (260_000, "3 days")],
)
def test_times_are_said_in_the_unit_that_a_person_would_use(seconds: float, words: str):
    from stanley.cli.training import in_minutes

    assert in_minutes(seconds) == words
