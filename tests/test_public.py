"""The public names, the direction of imports, and every Python block and example that a reader may
copy.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import stanley

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "stanley"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

#: From what stands on others to what others stand on; a room may import those of later rows, and
#: its own row.
LAYERS = [
    "cli __main__",
    "studio",
    "reports",
    "plots",
    "comparing",
    "judging",
    "models",
    "training",
    "uses features",
    "runs diagnostics metrics networks",
    "data targets samplers",
    "types config ranks overwriting",
    "batches device field_help files memory notebooks own_code products reading progress streams "
    "torchrun",
    "errors",
]
LAYER = {name: depth for depth, row in enumerate(LAYERS) for name in row.split()}


def test_every_public_name_is_there_and_is_itself_after_every_module_was_imported():
    """A submodule with the name of a public function would take its place when it is imported."""
    for module in pkgutil.walk_packages(stanley.__path__, "stanley."):
        if module.name != "stanley.__main__":
            importlib.import_module(module.name)
    modules = {name for name in stanley.__all__ if isinstance(getattr(stanley, name), ModuleType)}
    assert modules == {"data", "diagnostics", "metrics", "networks", "plots", "samplers", "targets"}


def test_names_for_type_checkers_are_the_names_at_run_time():
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {
        a.name for node in block.body if isinstance(node, ast.ImportFrom) for a in node.names
    }
    assert declared == set(stanley.__all__)


def module_name(path: Path) -> str:
    """'samplers.base' of src/stanley/samplers/base.py, 'samplers' of its __init__.py,
    '' of the package's own.
    """
    return (
        ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        .removesuffix("__init__")
        .rstrip(".")
    )


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def executed(tree: ast.Module) -> Iterator[ast.AST]:
    """All nodes but those that only type checkers read."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def imports(own: str, code: str, package: bool, at_run_time: bool = False) -> set[str]:
    """The modules of the library that a module imports, in whatever form and wherever in it."""
    found = set()
    tree = ast.parse(code)
    for node in executed(tree) if at_run_time else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = ["stanley", *filter(None, own.split("."))]
                up = up[: len(up) - node.level + package]
                base = ".".join([*up, *filter(None, [node.module])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "importlib.import_module",
            "__import__",
        ):
            found |= {
                a.value
                for a in node.args
                if isinstance(a, ast.Constant) and isinstance(a.value, str)
            }
    inside = {
        name.removeprefix("stanley").lstrip(".")
        for name in found
        if name.split(".")[0] == "stanley"
    }
    return {name if name in MODULES else name.rpartition(".")[0] for name in inside}


@pytest.mark.parametrize("own", [name for name in MODULES if name])
def test_imports_point_one_way(own: str):
    room = own.split(".")[0]
    for name in imports(own, MODULES[own].read_text(), MODULES[own].name == "__init__.py"):
        if name:
            assert LAYER[name.split(".")[0]] >= LAYER[room], (
                f"{own} imports {name}, which stands on it"
            )


def test_no_module_imports_itself_by_way_of_others():
    graph = {
        own: imports(own, path.read_text(), path.name == "__init__.py", at_run_time=True)
        for own, path in MODULES.items()
        if own
    }
    for name in sorted(graph):
        seen, waiting = set(), [name]
        while waiting:
            for other in graph.get(waiting.pop(), set()) - seen - {""}:
                assert other != name, f"{name} imports itself by way of {sorted(seen)}"
                seen.add(other)
                waiting.append(other)


@pytest.mark.parametrize(
    "line",
    [
        "import stanley.plots.curves",
        "from stanley.plots import curves",
        "from stanley import plots",
        "from ..plots import curves",
        "from .. import plots",
        "import importlib; importlib.import_module('stanley.plots')",
        "def lazily():\n    import stanley.plots as p",
    ],
)
def test_negative_control_every_form_of_import_is_seen(line: str):
    assert {name.split(".")[0] for name in imports("samplers.base", line, package=False)} == {
        "plots"
    }


def test_the_core_imports_nothing_heavy():
    """A GPU machine without the command-line packages can import all but cli;
    importing the package costs no torch.
    """
    code = (
        "import sys, stanley; assert 'torch' not in sys.modules; import stanley.training.loop,"
        " stanley.judging.evaluate, stanley.training.recipes, stanley.models.hub; heavy ="
        " {'cyclopts', 'pydantic', 'rich', 'matplotlib', 'pooch', 'yaml', 'PIL'} &"
        " set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def blocks():
    for page in PAGES:
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.S)):
            yield pytest.param(block, id=f"{page.name}-{number}")


@pytest.mark.parametrize("block", blocks())
def test_python_in_the_documents_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In an empty folder, as it stands, but for shorter runs."""
    monkeypatch.chdir(tmp_path)
    real = stanley.recipe

    def short(name: str):
        from dataclasses import replace

        return replace(real(name), steps=20, save_every=20)

    monkeypatch.setattr(stanley, "recipe", short)
    exec(compile(block, "document", "exec"), {})  # the documents are ours


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_examples_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if path.stem == "breast_cancer":
        pytest.importorskip("sklearn", reason="the extra examples")
    monkeypatch.setattr(sys, "argv", [str(path), str(tmp_path)])
    if "tensorboard" in path.read_text():
        pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    runpy.run_path(str(path), run_name="__main__")


def test_what_an_own_loop_told_tensorboard_is_read_back(tmp_path: Path):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    watched = runpy.run_path(str(ROOT / "examples" / "watched.py"))
    best = watched["main"](str(tmp_path), steps=60)
    board = EventAccumulator(str(tmp_path / "board")).Reload()
    (kl,) = board.Scalars("KL")
    assert kl.step == 50
    assert kl.value == pytest.approx(best, rel=1e-6)  # of float32
    energies = EventAccumulator(str(tmp_path / "board" / "energy_neg")).Reload().Scalars("energy")
    records = stanley.RunDirectory(tmp_path / "run").records()
    assert [e.step for e in energies] == [r["step"] for r in records]
    told, kept = [e.value for e in energies], [r["energy_neg"] for r in records]
    assert told == pytest.approx(kept, rel=1e-6, abs=1e-6)


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page may end in, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", h.replace("`", "").lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path):
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text()):
        if "://" not in target:
            other = page.parent / target if target else page
            assert other.exists(), target
            if anchor and other.suffix == ".md":
                assert anchor in anchors(other), f"{target}#{anchor}"


def test_every_data_set_has_a_recipe_that_trains_by_chains():
    from stanley.training.recipes import RECIPES

    for name in ("rings", "gmm", "moons", "array", "mnist", "cifar10", "flowers102", "folder"):
        assert RECIPES[f"{name}-contrastive"].objective.kind == "contrastive"
    assert RECIPES["rings-contrastive"] == RECIPES["rings"]


def test_every_recipe_has_a_line_and_is_a_configuration():
    from stanley.config import from_dict, to_dict
    from stanley.training.config import TrainConfig
    from stanley.training.recipes import ABOUT, RECIPES

    assert set(ABOUT) == set(RECIPES)
    for config in RECIPES.values():
        assert from_dict(TrainConfig, to_dict(config)) == config
