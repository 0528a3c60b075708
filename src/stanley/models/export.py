"""The energy as a graph that other programs run: torch.export (.pt2) or ONNX (.onnx,
the extra `onnx`).
"""

from __future__ import annotations

import io
import json
import logging
import os
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stanley.errors import StanleyError, require
from stanley.files import write_atomic
from stanley.models.trained import Trained
from stanley.overwriting import difference, keep_former
from stanley.runs import checkpoint
from stanley.streams import stream
from stanley.training.objectives.flow_matching import no_density

# batch sizes at which the graph is compared with the network; 2 is the one it was traced with
BATCHES = (1, 2, 5)
TOLERANCE = 1e-4  # of the size of E: float32 sums in another order


@dataclass(frozen=True)
class Exported:
    """difference is max |E_graph - E| over n points, scale the largest |E| there;
    checked_with ran the graph.
    """

    path: Path
    difference: float
    scale: float
    n: int
    checked_with: str


def export_energy(model: Trained, out: str | os.PathLike[str]) -> Exported:
    """x (B, *event) float32 -> E(x) (B,), any B >= 1, written to `out` (.pt2 or .onnx) and compared
    with the network.

    It is E, not U: U = E/T, and x is in the units of the data: where training standardised its
    vectors the graph does so, and adds T·Σ log std (`models.units`). The graph of .pt2 can be
    differentiated, that of .onnx cannot: it scores, and chains that need ∇E do not run on it. T,
    the shape of a point, and step and checksum of the weights are in the file, as `stanley`
    metadata. Another energy that is in the file is kept as NAME-former.pt2.
    """
    path = Path(out)
    kinds = {".pt2": to_pt2, ".onnx": to_onnx}
    require(
        path.suffix in kinds, f"--out {path} ends in {path.suffix!r}, must end in .pt2 or .onnx"
    )
    require(
        path.parent.is_dir(), f"--out {path}: the folder {path.parent} is not there; make it first"
    )
    require(
        model.device.type == "cpu",
        f"the model is on {model.device}, a graph is made on the CPU; load it with device='cpu'",
    )
    if model.flow is not None:
        raise no_density(model.path)
    energy = model.energy
    points = [model.noise.draw(n, stream(0, "points of an export", n)).float() for n in BATCHES]
    made_of = {
        "step": model.step,
        "weights": model.weights,
        "energy": checkpoint.checksum(energy.state_dict(), {}),
    }
    meta = json.dumps(
        {"temperature": model.config.temperature, "event_shape": list(model.event_shape)} | made_of
    )
    content, run, checked_with = kinds[path.suffix](energy, points[1], meta)
    with torch.no_grad():
        expected = torch.cat([energy(x) for x in points])
        got = torch.cat([run(x) for x in points])
    difference, scale = float((got - expected).abs().max()), float(expected.abs().max())
    require(
        difference <= TOLERANCE * scale,
        f"the exported graph gives energies that differ by {difference:.3g} of {scale:.3g}, limit "
        f"{TOLERANCE * scale:.3g}; nothing was written",
    )
    keep_another(path, made_of)
    write_atomic(path, content)
    return Exported(path, difference, scale, len(expected), checked_with)


def keep_another(path: Path, made_of: dict[str, Any]) -> None:
    """Another energy, or any other file, that is there already gets another name."""
    try:
        meta = read_meta(path)
        before = {key: meta.get(key) for key in made_of}
    except (OSError, ValueError, LookupError, StopIteration, zipfile.BadZipFile):
        before = None
    if before != made_of:
        keep_former([path], difference(before, made_of))


def read_meta(path: Path) -> dict[str, Any]:
    """What was written beside the graph; older files lack the step and the checksum."""
    if path.suffix == ".pt2":
        with zipfile.ZipFile(path) as archive:
            name = next(
                (n for n in archive.namelist() if n.endswith("extra/stanley")), "extra/stanley"
            )
            meta = json.loads(archive.read(name))
    else:
        import onnx

        try:
            props = onnx.load(str(path)).metadata_props
        except Exception as error:  # protobuf's own, which is no ValueError
            raise ValueError(str(error)) from error
        meta = json.loads(next(p.value for p in props if p.key == "stanley"))
    return {"step": "unknown", "weights": "unknown", "energy": "unknown"} | meta


Made = tuple[bytes, Callable[[Tensor], Tensor], str]  # a file, what runs it, and with what


def to_pt2(energy: nn.Module, x: Tensor, meta: str) -> Made:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about tensors that share memory
        program = torch.export.export(
            energy, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
        )
        torch.export.save(program, file, extra_files={"stanley": meta})
    content = file.getvalue()
    return (
        content,
        torch.export.load(io.BytesIO(content)).module(),
        f"torch.export {torch.__version__}",
    )


def to_onnx(energy: nn.Module, x: Tensor, meta: str) -> Made:
    try:
        import onnx
        import onnxscript  # noqa: F401, torch.onnx needs it
    except ImportError as error:
        raise StanleyError(
            f"ONNX needs {error.name}; pip install 'stanley[onnx]', or export to .pt2"
        ) from error
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)  # it warns of libraries that are not needed here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own deprecated parts
            program = torch.onnx.export(
                energy,
                (x,),
                dynamo=True,
                verbose=False,
                input_names=["x"],
                output_names=["energy"],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            )
    finally:
        log.setLevel(before)
    assert program is not None
    model = program.model_proto
    model.metadata_props.add(key="stanley", value=meta)
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    return content, *onnx_runner(content)


def onnx_runner(content: bytes) -> tuple[Callable[[Tensor], Tensor], str]:
    """onnxruntime where it is installed, else ONNX's own reference evaluator, slow and exact to the
    standard.
    """
    try:
        import onnxruntime
    except ImportError:
        import onnx
        from onnx.reference import ReferenceEvaluator

        session: Any = ReferenceEvaluator(onnx.load_from_string(content))
        name = f"the reference evaluator of onnx {onnx.__version__}"
    else:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        name = f"onnxruntime {onnxruntime.__version__}"
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0]), name
