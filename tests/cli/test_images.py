"""The commands that use a trained image energy: files, refusals,
nothing overwritten by something else.
"""

from __future__ import annotations

import csv
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import stanley
from stanley.cli import main
from stanley.data import Folder, Rings, centre, pictures
from stanley.data.pictures import read_pictures
from stanley.networks import MLP, ConvNet, LevelConvNet
from stanley.samplers import MALA, Langevin
from stanley.training.config import TrainConfig
from stanley.training.objectives import Contrastive, Denoising
from stanley.uses import outside

SIZE = 12


def grey(seed: int, size: tuple[int, int] = (SIZE, SIZE)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, size, np.uint8))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs a and b on grey images, colour on others, rings in the plane;
    pictures to use them on.
    """
    folder = tmp_path_factory.mktemp("images")
    for name, mode in (("grey", "L"), ("rgb", "RGB")):
        (folder / name).mkdir()
        for k in range(20):
            grey(k).convert(mode).save(folder / name / f"{k:02d}.png")
    runs = {
        "a": (
            Folder(path=str(folder / "grey"), size=SIZE, channels=1, held_out=0.4),
            Langevin(1e-4),
        ),
        "b": (Folder(path=str(folder / "grey"), size=SIZE, channels=1, held_out=0.4), MALA(1e-4)),
        "c": (
            Folder(path=str(folder / "grey"), size=SIZE, channels=1, held_out=0.4),
            Langevin(4e-4),
        ),
        "colour": (Folder(path=str(folder / "rgb"), size=SIZE), Langevin(1e-4)),
    }
    short = Contrastive(chain_steps=2, bank_size=4)
    small = {"objective": short, "steps": 2, "batch": 4, "save_every": 2, "ema": 0.0}
    for name, (data, sampler) in runs.items():
        config = TrainConfig(
            data=data, network=ConvNet(width=2), sampler=sampler, temperature=5e-5, **small
        )
        stanley.train(config, folder / name, device="cpu")
    stanley.train(
        TrainConfig(data=Rings(num=500), network=MLP(width=4), sampler=MALA(0.1), **small),
        folder / "plane",
        device="cpu",
    )
    (folder / "mixed").mkdir()
    for k in range(3):
        grey(k).save(folder / "mixed" / f"{k}.png")
    (folder / "mixed" / "broken.png").write_bytes(b"no picture")
    (folder / "mixed" / "notes.txt").write_text("not a picture, not looked at")
    (folder / "unfit").mkdir()
    grey(4, (14, 15)).save(folder / "unfit" / "large.png")
    grey(4).convert("RGB").save(folder / "unfit" / "rgb.png")
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (SIZE, SIZE, 3), np.uint8)).quantize(
        64
    ).save(folder / "palette-rgb.png")
    grey(0).quantize(256).save(folder / "palette-grey.png")
    green = np.zeros((SIZE, SIZE, 3), np.uint8)
    green[..., 1] = np.arange(SIZE)
    Image.fromarray(green).quantize(64).save(folder / "palette-green.png")
    (folder / "nothing").mkdir()
    (folder / "corrupt").mkdir()
    (folder / "corrupt" / "x.jpg").write_bytes(b"\xff\xd8 no picture")
    grey(0).save(folder / "one.png")
    grey(1).save(folder / "two.png")
    grey(2, (14, 15)).save(folder / "large.png")
    grey(3, (8, 8)).save(folder / "little.png")
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[2:6, 3:7] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray(mask[:8]).save(folder / "short-mask.png")
    large = np.zeros((14, 15), np.uint8)
    large[:, [0, 7, 13]] = 255
    Image.fromarray(large).save(folder / "large-mask.png")
    Image.fromarray(np.zeros_like(mask)).save(folder / "black.png")
    Image.fromarray(np.full_like(mask, 255)).save(folder / "white.png")
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> dict:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words), "--json"])
    assert not ended.value.code, capsys.readouterr().err
    told = json.loads(capsys.readouterr().out)
    require_numbers(told)
    return told


NUMBERS = {
    "step_size",
    "acceptance",
    "gradients_per_chain",
    "nonfinite",
    "n_held_out",
    "num",
    "steps",
    "seed",
    "n",
}


def require_numbers(value: object) -> None:
    """Where a number belongs there is one, or null; never a sentence."""
    parts = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, part in parts:
        assert key not in NUMBERS or part is None or isinstance(part, int | float), (key, part)
        require_numbers(part)


def warned(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What a command that succeeds says on stderr."""
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words)])
    told = capsys.readouterr().err
    assert not ended.value.code, told
    return told


def error(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words)])
    told = capsys.readouterr().err
    assert ended.value.code == 2, told
    last = told.strip().splitlines()[-1]
    assert last.startswith("stanley: error: ")
    return last


def bytes_as_points(file: Path) -> np.ndarray:
    return (np.asarray(Image.open(file)).astype(np.float32) + 0.5) / 128 - 1


SHORT = ("--steps", 3, "--num", 2, "--device", "cpu")


def test_negative_control_a_sentence_for_a_number_is_seen():
    with pytest.raises(AssertionError, match="step_size"):
        require_numbers({"asked": [{"step_size": "found by adapt"}]})


@pytest.mark.filterwarnings("always:kept the former answer")
def test_inpaint(place: Path, capsys, tmp_path: Path):
    request = (
        "inpaint",
        place / "a",
        place / "one.png",
        "--mask",
        place / "mask.png",
        *SHORT,
        "--out",
        tmp_path,
    )
    told = run(capsys, *request)
    draws = np.load(told["files"][0])
    unknown = np.asarray(Image.open(place / "mask.png")) > 127
    assert draws.shape == (1, 2, 1, SIZE, SIZE)
    assert (draws[0, :, 0][:, ~unknown] == bytes_as_points(place / "one.png")[~unknown]).all()
    assert (draws[0, :, 0][:, unknown] != bytes_as_points(place / "one.png")[unknown]).any(1).all()
    assert np.allclose(np.load(told["files"][1]), draws.mean(1))
    assert told["asked"]["unknown_pixels"] == 16
    truth, mean = bytes_as_points(place / "one.png")[unknown], draws[0, :, 0].mean(0)[unknown]
    psnr = 10 * np.log10(4 / np.mean((mean - truth) ** 2))
    assert told["scores"]["mean"]["psnr"] == {
        "n": 1,
        "mean": pytest.approx(psnr, abs=1e-4),
        "sd": None,
    }
    assert set(told["scores"]) == {"mean", "draw", "training_mean"}
    # the same again is the same; with other steps under the same name all files of the former
    # answer are kept
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert run(capsys, *request)["files"] == told["files"]
    assert {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before
    told = warned(capsys, *request[:5], "--steps", 4, *request[7:])
    assert "kept the former answer (steps 3, now 4) as " in told
    for path, content in before.items():
        assert path.with_name(f"{path.stem}-former{path.suffix}").read_bytes() == content
        assert path.suffix == ".png" or path.read_bytes() != content


def test_inpaint_held_out_damaged_and_another_sampler(place: Path, capsys, tmp_path: Path):
    base = ("inpaint", place / "a", "--held-out", 3, *SHORT, "--out", tmp_path)
    assert run(capsys, *base, "--mask", "right-half")["scores"]["mean"]["ssim"]["n"] == 3
    told = run(capsys, *base, "--mask", "2,2,4,4", "--damaged", "--sampler", "mala", "--warm-up", 5)
    assert told["scores"] is None
    assert told["sampler"]["kind"] == "mala"
    assert 0 <= told["acceptance"] <= 1
    fixed = run(capsys, *base, "--mask", "top-half", "--sampler.step-size", 0.002)
    assert fixed["asked"]["sampler"]["step_size"] == 0.002


def test_denoise(place: Path, capsys, tmp_path: Path):
    told = run(
        capsys,
        "denoise",
        place / "a",
        place / "one.png",
        "--noise",
        0.3,
        "--clean",
        *SHORT,
        "--out",
        tmp_path,
    )
    assert set(told["scores"]) == {"noisy", "mean", "draw"}
    # n = 144 pixels: the noise's power is 0.3² within 6·√(2/144) of itself, 3 dB each way at most
    assert told["scores"]["noisy"]["psnr"]["mean"] == pytest.approx(20 * np.log10(2 / 0.3), abs=3)
    flow = run(
        capsys,
        "denoise",
        place / "a",
        place / "mixed",
        "--noise",
        0.3,
        "--flow",
        "--steps",
        3,
        "--out",
        tmp_path,
    )
    assert flow["scores"] is None
    assert flow["sampler"]["kind"] == "gradient-descent"
    assert [Path(f).name for f in flow["asked"]["images"]] == ["0.png", "1.png", "2.png"]
    assert flow["asked"]["skipped"][0].startswith("broken.png: ")
    assert np.load(flow["files"][0]).shape == (3, 1, 1, SIZE, SIZE)


def test_interpolate(place: Path, capsys, tmp_path: Path):
    ends = (place / "one.png", place / "two.png")
    told = run(
        capsys, "interpolate", place / "a", *ends, "--points", 5, "--steps", 3, "--out", tmp_path
    )
    path = np.load(told["files"][0])
    assert path.shape == (5, 1, SIZE, SIZE)
    assert (path[0, 0] == bytes_as_points(ends[0])).all()
    assert (path[-1, 0] == bytes_as_points(ends[1])).all()
    assert len(told["energy"]) == len(told["energy_straight"]) == 5


def test_compose(place: Path, capsys, tmp_path: Path):
    base = (
        "compose",
        place / "a",
        place / "b",
        "--num",
        4,
        "--steps",
        3,
        "--device",
        "cpu",
        "--out",
        tmp_path,
    )
    told = run(capsys, *base, "--weights", "1,0.5")
    assert [p["weight"] for p in told["asked"]["parts"]] == [1.0, 0.5]
    # b's MALA step is another thing
    assert told["asked"]["sampler"]["step_size"] == pytest.approx(1e-4 / 1.5)
    other = run(capsys, "compose", place / "a", place / "c", *base[3:], "--weights", "1,0.5")
    assert other["asked"]["sampler"]["step_size"] == pytest.approx(1 / (1 / 1e-4 + 0.5 / 4e-4))
    assert np.load(told["files"][0]).shape == (4, 1, SIZE, SIZE)
    adjusted = run(capsys, "compose", place / "b", place / "a", *base[3:], "--warm-up", 5)
    assert adjusted["step_size"] == adjusted["sampler"]["step_size"]
    assert adjusted["step_size_from"] == "adapt, 5 steps"
    plane = run(capsys, "compose", place / "plane", place / "plane", *base[3:], "--warm-up", 5)
    assert plane["files"][1].endswith(".png")


def test_ood(place: Path, capsys, tmp_path: Path):
    told = run(capsys, "ood", place / "a", place / "mixed", "--out", tmp_path / "scores.csv")
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert [Path(r["file"]).name for r in rows] == ["0.png", "1.png", "2.png"]
    model = stanley.load(place / "a", device="cpu")
    import torch

    x = torch.from_numpy(
        np.stack([bytes_as_points(place / "mixed" / f"{k}.png") for k in range(3)])
    )[:, None]
    reference = model.potential(2 * (model.config.data.load().test.float() + 0.5) / 256 - 1)
    u = model.potential(x)
    for k, row in enumerate(rows):
        assert float(row["energy"]) == pytest.approx(float(u[k]), rel=1e-4)
        below = float((reference < u[k]).double().mean() + (reference == u[k]).double().mean() / 2)
        # a rounding may turn one tie
        assert float(row["percentile"]) == pytest.approx(100 * below, abs=100 / 8)
    assert len(told["skipped"]) == 1
    assert (told["n_held_out"], told["no_held_out"]) == (8, None)

    inside = torch.stack(
        [torch.from_numpy(bytes_as_points(f)) for f in sorted((place / "grey").iterdir())]
    )[:, None]
    for against, v in (("held-out", reference), (place / "grey", model.potential(inside))):
        out = tmp_path / f"{len(v)}.csv"
        told = run(capsys, "ood", place / "a", place / "mixed", "--out", out, "--against", against)
        assert (told["energy"]["n_in"], told["energy"]["n_out"]) == (len(v), 3)
        won = (u[:, None] > v).double() + (u[:, None] == v).double() / 2  # P(outside is higher)
        # ties may turn
        assert told["energy"]["auroc"] == pytest.approx(float(won.mean()), abs=3 / (3 * len(v)))


def test_ood_of_an_energy_that_knows_noise_levels(capsys, tmp_path: Path):
    """Profiles among 200 held-out pictures, against those of the library; with fewer they are left
    out, and that is said."""
    for name, num in (("many", 400), ("few", 20)):
        (tmp_path / name).mkdir()
        for k in range(num):
            grey(k, (8, 8)).save(tmp_path / name / f"{k:03d}.png")
    config = TrainConfig(
        data=Folder(path=str(tmp_path / "many"), size=8, channels=1, held_out=0.5),
        network=LevelConvNet(width=2, blocks=0),
        sampler=Langevin(1e-4),
        objective=Denoising(),
        steps=2,
        batch=4,
    )
    stanley.train(config, tmp_path / "run", device="cpu")
    out = tmp_path / "scores.csv"
    words = ("ood", tmp_path / "run", tmp_path / "few", "--out", out, "--against", "held-out")
    told = run(capsys, *words)
    assert set(told) >= {"energy", "grad_norm", "profile"}
    model = stanley.load(tmp_path / "run", device="cpu")
    held_out = centre(model.config.data.load().test)
    x = centre(read_pictures(tmp_path / "few", (1, 8, 8)).images)
    found = outside(model.potential, x, held_out, held_out, model.potentials_down(10))
    assert len(model.potentials_down(10)) == 10
    assert found.profile is not None
    assert found.rarity is not None
    rows = list(csv.DictReader(out.read_text().splitlines()))
    for k, row in enumerate(rows):
        assert float(row["profile"]) == pytest.approx(float(found.profile[k]), rel=1e-4)
        assert float(row["rarity"]) == pytest.approx(float(found.rarity[k]), abs=1)
    assert told["profile"]["auroc"] == pytest.approx(found.detection["profile"].auroc, abs=0.01)
    data = ("--data.root", tmp_path / "few")
    with pytest.raises(SystemExit):
        main([str(word) for word in (*words[:3], "--out", tmp_path / "few.csv", *data)])
    assert "no profile of noise levels: there are 10 held-out images" in capsys.readouterr().out
    assert (tmp_path / "few.csv").read_text().startswith("file,energy,gradient_norm,percentile\n")


def test_ood_without_the_data(place: Path, capsys, tmp_path: Path):
    """Percentiles are left out, with the reason; --against held-out is refused."""
    run_copy = tmp_path / "a"
    shutil.copytree(place / "a", run_copy)
    config = json.loads((run_copy / "config.json").read_text())
    config["data"]["path"] = str(tmp_path / "gone")
    (run_copy / "config.json").write_text(json.dumps(config))
    told = run(capsys, "ood", run_copy, place / "mixed")
    assert told["n_held_out"] is None
    assert "gone" in told["no_held_out"]
    assert all(
        row["percentile"] == ""
        for row in csv.DictReader((run_copy / "ood" / "mixed.csv").read_text().splitlines())
    )
    assert "--against held-out" in error(
        capsys, "ood", run_copy, place / "mixed", "--against", "held-out"
    )


def test_resize_and_colour(place: Path, capsys, tmp_path: Path):
    for name in ("large.png", "little.png", "rgb/00.png"):
        told = run(
            capsys,
            "ood",
            place / "a",
            place / name,
            "--resize",
            "--out",
            tmp_path / f"{Path(name).stem}.csv",
        )
        assert len(told["asked"]["images"]) == 1
    run(
        capsys,
        "ood",
        place / "colour",
        place / "one.png",
        "--resize",
        "--out",
        tmp_path / "colour.csv",
    )


def test_a_mask_is_resized_like_its_picture(place: Path, capsys, tmp_path: Path):
    """The 14 columns in the middle of 15 become 12, each the nearest one:
    no column is half unknown.
    """
    words = (
        "inpaint",
        place / "a",
        place / "large.png",
        "--mask",
        place / "large-mask.png",
        "--resize",
        *SHORT,
    )
    told = run(capsys, *words, "--out", tmp_path)
    centres = 0.5 + (np.arange(SIZE) + 0.5) * 14 / SIZE  # in pixels of the file
    columns = np.isin(np.floor(centres), [0, 7, 13])
    assert 0 < columns.sum() < 3  # a column is cut off, and one lies between the centres
    assert told["asked"]["unknown_pixels"] == SIZE * columns.sum()
    draws = np.load(told["files"][0])
    moved = (draws[0, 0, 0] != draws[0, 1, 0]).any(0)
    assert (moved == columns).all()


def test_a_palette_of_greys_is_grey(place: Path, capsys, tmp_path: Path):
    told = [
        run(capsys, "ood", place / "a", place / f, "--out", tmp_path / f"{k}.csv")
        for k, f in enumerate(("palette-grey.png", "one.png"))
    ]
    assert told[0]["asked"]["sha256"] == told[1]["asked"]["sha256"]


def test_one_picture_that_does_not_fit_is_named_once_and_skipped(
    place: Path, capsys, tmp_path: Path
):
    folder = tmp_path / "pictures"
    shutil.copytree(place / "mixed", folder)
    for file in (place / "unfit").iterdir():
        shutil.copy(file, folder)
    uses = (("inpaint", *IN, "--steps", 1), ("denoise", "--noise", 0.2, "--steps", 1), ("ood",))
    for use, *flags in uses:
        out = tmp_path / "ood.csv" if use == "ood" else tmp_path
        with pytest.raises(SystemExit) as ended:
            main([str(w) for w in (use, place / "a", folder, *flags, "--out", out)])
        told = capsys.readouterr()
        assert not ended.value.code, told.err
        for name, reason in (
            ("broken.png", "not a picture, or damaged"),
            ("large.png", "has 15×14 pixels, the model knows 12×12"),
            ("rgb.png", "is in colour (mode RGB), the model knows grey images"),
        ):
            assert (told.out + told.err).count(name) == 1
            assert reason in told.err
        assert told.err.count("\n") == 1
        assert "--resize" in told.err


def test_pillows_own_warnings_name_the_file_and_only_files_that_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    grey(0).save(tmp_path / "a.tif", compression="tiff_lzw")
    content = (tmp_path / "a.tif").read_bytes()
    # Pillow warns of what it reads of its header
    (tmp_path / "b.tif").write_bytes(content[: len(content) // 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_pictures(tmp_path, (1, SIZE, SIZE)).skipped) == 1
    real = pictures.read_picture

    def warned(*arguments):
        warnings.warn("odd\n header", stacklevel=1)
        return real(*arguments)

    monkeypatch.setattr(pictures, "read_picture", warned)
    with pytest.warns(UserWarning, match=r"^a.tif: odd header$") as told:
        read_pictures(tmp_path, (1, SIZE, SIZE))
    assert len(told) == 1


def test_answers_of_what_is_no_run_go_into_a_folder_for_the_use(
    place: Path, capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """USE/NAME, as samples/banana; those of a run go into the run."""
    monkeypatch.chdir(tmp_path)
    for k in range(2):
        grey(k, (28, 28)).save(f"{k}.png")
    asked = {
        "inpainted": ("inpaint", "0.png", *IN, "--steps", 1),
        "denoised": ("denoise", "0.png", "--noise", 0.2, "--steps", 1),
        "interpolated": ("interpolate", "0.png", "1.png", "--steps", 1, "--points", 3),
        "ood": ("ood", "0.png"),
        "samples": ("sample", "--num", 1, "--steps", 1),
    }
    for folder, words in asked.items():
        files = run(capsys, *words, "--pretrained", "mnist", "--device", "cpu")["files"]
        assert {Path(f).parent for f in files} == {Path(folder, "mnist")}
    run_copy = tmp_path / "run"
    shutil.copytree(place / "a", run_copy)
    told = run(capsys, "inpaint", "run", place / "one.png", *IN, *SHORT)
    assert {Path(f).parent for f in told["files"]} == {Path("run", "inpainted")}
    told = run(capsys, "compose", "run", place / "b", "--num", 2, "--steps", 1)
    assert {Path(f).parent for f in told["files"]} == {Path("composed", "run-b")}


def test_a_film_of_chains(place: Path, capsys, tmp_path: Path):
    """One for every n: another n answers another question about the same chains, and both stay."""
    for every in (2, 5):
        asked = ("--num", 3, "--steps", 20, "--keep-every", every, "--out", tmp_path)
        told = run(capsys, "sample", place / "a", *asked)
        film = next(f for f in told["files"] if f.endswith(f"-every-{every}.png"))
        with Image.open(film) as picture:
            assert picture.width > picture.height
    lengths = [len(np.load(path)) for path in sorted(tmp_path.glob("*-every-*.npy"))]
    assert lengths == [20 // 2, 20 // 5]


IN = ("--mask", "right-half")
REFUSED = {
    "no mask marks": (("inpaint", "a", "one.png", "--mask", "black.png"), "marks nothing"),
    "all marked": (("inpaint", "a", "one.png", "--mask", "white.png"), "marks all 144"),
    "mask of another size": (
        ("inpaint", "a", "one.png", "--mask", "short-mask.png"),
        "12×8 pixels, the images have",
    ),
    "mask outside": (
        ("inpaint", "a", "one.png", "--mask", "8,8,16,16"),
        "is not inside the image of 12×12",
    ),
    "no such mask": (("inpaint", "a", "one.png", "--mask", "gone.png"), "no such file"),
    "mask no picture": (
        ("inpaint", "a", "one.png", "--mask", "corrupt/x.jpg"),
        "cannot be read as a picture",
    ),
    "another size": (
        ("inpaint", "a", "large.png", *IN),
        "15×14 pixels, the model knows 12×12; --resize",
    ),
    "another mode": (("inpaint", "a", "rgb/00.png", *IN), "in colour (mode RGB)"),
    "grey for colour": (("denoise", "colour", "one.png", "--noise", "0.2"), "is grey (mode L)"),
    "no image": (("inpaint", "a", "gone.png", *IN), "no such file or folder"),
    "empty folder": (("ood", "a", "nothing"), "holds no picture"),
    "all corrupt": (("ood", "a", "corrupt"), "none of 1 pictures can be used: x.jpg: "),
    "all of another size or mode": (
        ("ood", "a", "unfit"),
        (
            "2 pictures can be used: large.png has 15×14 pixels, the model knows 12×12; rgb.png is"
            " in colour (mode RGB), the model knows grey images; --resize fits"
        ),
    ),
    "a palette of colours": (("ood", "a", "palette-rgb.png"), "is in colour (mode P)"),
    "a palette of greens": (("ood", "a", "palette-green.png"), "is in colour (mode P)"),
    "a palette of greys": (("ood", "colour", "palette-grey.png"), "is grey (mode P)"),
    "mask neither of the images nor of the files": (
        ("inpaint", "a", "large.png", "--resize", "--mask", "short-mask.png"),
        "12×8 pixels, the images have 12×12, resized from 15×14; make it one of these sizes",
    ),
    "mask of resized files of two sizes": (
        ("inpaint", "a", "unfit", "--resize", "--mask", "large-mask.png"),
        "15×14 pixels, the images have 12×12; make it that size",
    ),
    "a vector model": (("inpaint", "plane", "one.png", *IN), "not images"),
    "held-out of vectors": (
        ("denoise", "plane", "--held-out", "2", "--noise", "0.2"),
        "not images",
    ),
    "too many held out": (("inpaint", "a", "--held-out", "99", *IN), "hold 8 held-out"),
    "names missing": (("inpaint", "a", *IN), "1 names were given (a), must be 2: RUN IMAGE"),
    "names too many": (("ood", "a", "one.png", "two.png"), "must be 2: RUN FOLDER"),
    "no noise": (("denoise", "a", "one.png", "--noise", "0"), "noise std is 0.0"),
    "chains of a flow": (
        ("denoise", "a", "one.png", "--noise", "0.2", "--flow", "--num", "3"),
        "--flow draws nothing",
    ),
    "the same ends": (("interpolate", "a", "one.png", "one.png"), "the same point"),
    "a sampler on a path": (
        ("interpolate", "a", "one.png", "two.png", "--sampler", "mala"),
        "interpolate has no --sampler",
    ),
    "held-out on a path": (
        ("interpolate", "a", "--held-out", "3"),
        "interpolate has no --held-out: it goes between two",
    ),
    "a sampler of scores": (("ood", "a", "one.png", "--sampler", "mala"), "ood has no --sampler"),
    "a folder as an end": (("interpolate", "a", "mixed", "two.png"), "give two picture files"),
    "shapes differ": (("compose", "a", "colour"), "has points of shape (3, 12, 12)"),
    "one to compose": (("compose", "a"), "two runs or more"),
    "too few weights": (("compose", "a", "b", "--weights", "1"), "1 weights were given for 2"),
    "weights no numbers": (("compose", "a", "b", "--weights", "1,x"), "must be numbers"),
    "unknown flag": (
        ("inpaint", "a", "one.png", *IN, "--nonsense", "3"),
        "unknown flag --nonsense",
    ),
    "no csv": (("ood", "a", "one.png", "--out", "scores.txt"), "must be a .csv"),
    "no run": (("ood", "gone", "one.png"), "no such run directory"),
    "seed": (("inpaint", "a", "one.png", *IN, "--seed", "-1"), "seed is -1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case: str, place: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(place)
    words, message = REFUSED[case]
    assert message in error(capsys, *words)


@pytest.mark.filterwarnings("always:kept the former answer")
def test_files_of_others_are_kept(place: Path, capsys, tmp_path: Path):
    (tmp_path / "scores.csv").write_text("mine")
    told = warned(capsys, "ood", place / "a", place / "one.png", "--out", tmp_path / "scores.csv")
    assert f"(to a request that is not written down) as {tmp_path / 'scores-former.csv'}" in told
    assert (tmp_path / "scores-former.csv").read_text() == "mine"
    assert (tmp_path / "scores.csv").read_text().startswith("file,")


def in_colour(folder: Path, names: dict[str, tuple[int, int]]) -> dict[str, np.ndarray]:
    folder.mkdir()
    made = {}
    for k, (name, (width, height)) in enumerate(names.items()):
        made[name] = np.random.default_rng(k).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(made[name]).save(folder / name)
    return made


def pixels_of(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image)


def test_every_input_gets_a_picture_of_its_name(place, tmp_path, capsys):
    in_colour(
        tmp_path / "in", {"a.png": (SIZE, SIZE), "b.bmp": (SIZE, SIZE), "a.bmp": (SIZE, SIZE)}
    )
    words = ("inpaint", place / "colour", tmp_path / "in", "--mask", "left-half", "--steps", 1)
    told = run(capsys, *words, "--out", tmp_path / "out")
    folder = tmp_path / "out" / "inpaint-3-images-left-half-seed0"
    names = ["a.bmp.png", "a.png.png", "b.png"]
    assert sorted(file.name for file in folder.iterdir()) == names
    assert sorted(told["pictures"]) == [str(folder / name) for name in names]
    draws = np.load(tmp_path / "out" / "inpaint-3-images-left-half-seed0.npy")
    for name, draw in zip(told["pictures"], draws[:, 0], strict=True):
        shown = bytes_as_points(Path(name)).transpose(2, 0, 1)
        assert np.abs(shown - draw.clip(-1, 1)).max() <= 0.5 / 128 + 1e-6  # rounding to bytes


def test_only_masked_pixels_of_a_picture_change(place, tmp_path, capsys):
    made = in_colour(tmp_path / "in", {"wide.png": (31, 17), "same.png": (SIZE, SIZE)})
    told = run(
        capsys,
        *("inpaint", place / "colour", tmp_path / "in", "--mask", "3,2,4,5", "--steps", 2),
        *("--resize", "--paste-back", "--out", tmp_path / "out"),
    )
    assert len(told["pictures"]) == 2
    for file in map(Path, told["pictures"]):
        before, after = made[file.name], pixels_of(file)
        assert after.shape == before.shape
        side = min(before.shape[:2])
        left, top = ((n - side) / 2 for n in (before.shape[1], before.shape[0]))
        columns = (np.arange(before.shape[1]) + 0.5 - left) * SIZE / side
        rows = (np.arange(before.shape[0]) + 0.5 - top) * SIZE / side
        masked = ((rows >= 2) & (rows < 7))[:, None] & ((columns >= 3) & (columns < 7))
        assert (before == after)[~masked].all()
        assert (before != after)[masked].any()  # negative control


def test_denoising_puts_the_mean_back(place, tmp_path, capsys):
    made = in_colour(tmp_path / "in", {"a.png": (SIZE, SIZE)})
    words = ("denoise", place / "colour", tmp_path / "in" / "a.png", "--noise", 0.3, "--steps", 2)
    told = run(capsys, *words, "--paste-back", "--out", tmp_path / "out")
    mean = np.load(tmp_path / "out" / "denoise-a-noise-0.3-seed0-mean.npy")[0]
    shown = bytes_as_points(Path(told["pictures"][0])).transpose(2, 0, 1)
    assert shown.shape == (3, SIZE, SIZE)
    assert np.abs(shown - mean.clip(-1, 1)).max() <= 0.5 / 128 + 1e-6
    assert (pixels_of(Path(told["pictures"][0])) != made["a.png"]).any()


def test_pictures_of_another_request_are_kept_with_it(place, tmp_path, capsys):
    in_colour(tmp_path / "in", {"a.png": (SIZE, SIZE)})
    words = ("denoise", place / "colour", tmp_path / "in" / "a.png", "--noise", 0.3)
    run(capsys, *words, "--steps", 1, "--out", tmp_path / "out")
    name = "denoise-a-noise-0.3-seed0"
    first = (tmp_path / "out" / name / "a.png").read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(capsys, *words, "--steps", 2, "--out", tmp_path / "out")
    assert (tmp_path / "out" / f"{name}-former" / "a.png").read_bytes() == first
    assert (tmp_path / "out" / name / "a.png").read_bytes() != first
    run(capsys, *words, "--steps", 2, "--out", tmp_path / "out")
    assert not (tmp_path / "out" / f"{name}-former-2").exists()


def test_held_out_images_have_no_picture_to_go_back_into(place, capsys):
    words = ("inpaint", place / "colour", "--held-out", 1, "--mask", "left-half", "--paste-back")
    assert "--held-out takes images of the run's data" in error(capsys, *words)
