"""The site: every page is in it, every docstring can be read on it, and its notebooks run.

The whole of it is built by `make docs`, where warnings are errors.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

import stanley

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.md"))
PAGES = [ROOT / "README.md", *(p for p in sorted(DOCS.rglob("*.md")) if "_build" not in p.parts)]
LONGEST = 250  # lines of a page


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch):
    """A module of the site's own, by name."""
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    monkeypatch.syspath_prepend(str(DOCS / "extensions"))
    yield importlib.import_module
    for name in ("docstrings", "forge_links", "links", "search"):
        sys.modules.pop(name, None)


def listed(page: str) -> set[str]:
    """The pages in the tables of contents of a page."""
    text = (DOCS / page).read_text()
    trees = re.findall(r"```\{toctree\}\n(.*?)```", text, re.S)
    trees += re.findall(r"\.\. toctree::\n(?:   :.*\n)*\n((?:   .*\n)+)", text)
    lines = [line.strip() for tree in trees for line in tree.splitlines()]
    named = [re.sub(r".*<(.*)>", r"\1", line) for line in lines if line and line[0] != ":"]
    return {(Path(page).parent / name).as_posix() for name in named}


def test_every_page_is_in_the_contents():
    pages = {p.relative_to(DOCS).with_suffix("").as_posix() for p in PAGES[1:]} - {"index"}
    reference = {f"api/{p.stem}" for p in (DOCS / "api").glob("*.rst")}
    assert listed("index.md") == pages | {"api/index"}
    assert listed("api/index.rst") | {"api/index"} == reference


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_page_is_too_long(page: Path):
    assert len(page.read_text().splitlines()) <= LONGEST


def in_the_reference() -> set[str]:
    """Full names of what the pages of the reference document."""
    found: set[str] = set()
    for page in (DOCS / "api").glob("*.rst"):
        module = ""
        for kind, name in re.findall(r"^\.\. ([a-z:]+):: (\S+)", page.read_text(), re.M):
            if kind == "currentmodule":
                module = f"{name}."
            elif kind == "automodule":
                found |= {f"{name}.{one}" for one in importlib.import_module(name).__all__}
            else:
                found.add(name if name.startswith("stanley.") else module + name)
    return found


def test_every_public_name_is_in_the_reference():
    shown = in_the_reference()
    rooms = ("data", "networks", "targets")  # classes that are shown where they live
    for name in stanley.__all__:
        value = getattr(stanley, name)
        places = {f"stanley.{name}", *(f"stanley.{room}.{name}" for room in rooms)}
        assert inspect.ismodule(value) or shown & places, f"{name} is on no page of docs/api"
    for name in shown:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def documented() -> dict[str, str]:
    found = {}
    for name in sorted(in_the_reference()):
        module, _, attribute = name.rpartition(".")
        value = getattr(importlib.import_module(module), attribute)
        text = inspect.getdoc(value) if inspect.isclass(value) or inspect.isroutine(value) else ""
        if text:
            found[name] = text
    return found


def test_every_docstring_is_markup_that_sphinx_can_read(extension):
    from docutils.core import publish_doctree

    restructured = extension("docstrings").restructured
    settings = {"report_level": 2, "halt_level": 2, "warning_stream": None}
    for name, text in documented().items():
        lines = restructured(text.splitlines())
        shown = publish_doctree("\n".join(lines), settings_overrides=settings).astext()
        # nothing is lost: the same words, whatever stands between them
        assert re.findall(r"\w+", shown) == re.findall(r"\w+", text), name


def test_no_column_of_names_is_run_together(extension):
    """Lines that hang below others are those of a column of names, or of formulas at the top."""
    module = extension("docstrings")
    for name, text in documented().items():
        _, *rest = module.paragraphs(text.splitlines())
        for paragraph in rest:
            hangs = any(line.startswith(" ") for line in paragraph) and paragraph[0][0] != " "
            assert not hangs or module.rows_of(paragraph), f"{name}: {paragraph[0]}"


def test_negative_control_markup_that_is_not_escaped_is_seen():
    docutils = pytest.importorskip("docutils", reason="the extra docs is not installed")
    from docutils.core import publish_doctree

    settings = {"report_level": 2, "halt_level": 2, "warning_stream": None}
    with pytest.raises(docutils.utils.SystemMessage):
        publish_doctree("(B, *event), and |x| is a norm", settings_overrides=settings)


DOCSTRING = """\
γ(x) = th / |∇U|,   x' = x - h·∇U

h = `step_size` is the variance of *event. Not true: that it is exact.

threshold   th in units of |∇U|, or
            `Quantile(q)`
seed, generator   the only source
standardise whether z is

    L = a_ + b_
"""


def test_a_docstring_becomes_formulas_names_and_blocks(extension):
    lines = "\n".join(extension("docstrings").restructured(DOCSTRING.splitlines()))
    assert "| γ(x) = th / \\|∇U\\|,\n| x' = x - h·∇U" in lines
    assert "h = \\ ``step_size``\\  is the variance of \\*event." in lines
    assert "\n\n**Not true**\\ : that it is exact." in lines
    assert "``threshold``\n    th in units of \\|∇U\\|, or \\ ``Quantile(q)``" in lines
    assert "``seed``, ``generator``\n    the only source" in lines
    assert "``standardise``\n    whether z is" in lines
    assert "::\n\n    L = a_ + b_" in lines


def test_comments_of_fields_are_read(extension):
    about = extension("docstrings").comments_of(stanley.Langevin)
    assert about["step_size"] == "h, the variance of the noise of a step"


SITE = {
    "index.html": '<h1 id="a">A</h1><a href="b.html#x"></a><a href="#a"></a><img src="c.png">',
    "b.html": '<p id="x"></p><a href="index.html"></a><a href="https://example.org/none"></a>',
    "c.png": "",
}


def test_links_within_the_site_are_followed(extension, tmp_path: Path):
    broken = extension("links").broken
    for name, text in SITE.items():
        (tmp_path / name).write_text(text)
    assert broken(tmp_path) == []
    lost = ["nowhere.html", "b.html#y", "#b", "d.png", "../outside.html"]
    (tmp_path / "bad.html").write_text("".join(f'<a href="{link}"></a>' for link in lost))
    assert broken(tmp_path) == [f"bad.html: {link}" for link in lost]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages in Markdown as a site, which is built in seconds."""
    pytest.importorskip("furo", reason="the extra docs is not installed")
    html = tmp_path_factory.mktemp("site") / "html"
    words = "-q -D nb_execution_mode=off -D exclude_patterns=_build,extensions,api,notebooks"
    command = [sys.executable, "-m", "sphinx", *words.split(), str(DOCS), str(html)]
    subprocess.run(command, check=True, capture_output=True)
    return html


def test_the_search_index_knows_the_words_of_the_field(extension, site: Path):
    pages_with = extension("search").pages_with
    assert "samplers" in pages_with("metropolis", site)
    assert "uses" in pages_with("inpaint", site)
    assert pages_with("inpainting", site) == pages_with("inpaint", site)
    assert pages_with("gobbledygook", site) == []


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    """The address of the site, as a server gives it: of files a browser shows no excerpts."""
    handler = partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.mark.browser
@pytest.mark.parametrize(("word", "page_found"), [("Metropolis", "samplers"), ("inpaint", "uses")])
def test_a_word_that_is_typed_finds_a_page(served: str, page: Any, word: str, page_found: str):
    page.goto(f"{served}/index.html")
    box = page.get_by_label("Search", exact=True).first
    box.fill(word)
    box.press("Enter")
    result = page.locator("#search-results li").filter(
        has=page.locator(f"a[href^='{page_found}.html']")
    )
    result.locator(".highlighted", has_text=re.compile(word, re.I)).first.wait_for()  # its excerpt
    page.goto(f"{served}/search.html?q=gobbledygook")
    page.get_by_text("did not match any documents").wait_for()
    assert page.locator("#search-results a").count() == 0


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_runs_what_is_there(workflow: Path):
    """Its targets are those of the Makefile, its actions are pinned to a major version, and its
    Pythons are those that the package states.
    """
    read = yaml.safe_load(workflow.read_text())
    steps = [step for job in read["jobs"].values() for step in job["steps"]]
    targets = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.M)
    for step in steps:
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
        elif "run" in step:
            program, *words = step["run"].split()
            assert program == "make"
            assert set(words) <= set(targets)
    if workflow.stem == "test":
        first = re.search(r'requires-python = ">=(.*)"', (ROOT / "pyproject.toml").read_text())
        assert first is not None
        assert read["jobs"]["test"]["strategy"]["matrix"]["python"][0] == first[1]


def cells(notebook: Path) -> list[str]:
    """The code of a notebook, a string each cell."""
    blocks = re.findall(r"^```\{code-cell\} python\n(.*?)^```$", notebook.read_text(), re.S | re.M)
    return [re.sub(r"^:.*\n\n?", "", block) for block in blocks]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_what_a_notebook_imports_is_there(notebook: Path):
    """Its other names are seen where it is executed: below, and by `make docs`."""
    code = "\n".join(cells(notebook))
    assert len(cells(notebook)) > 5
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("stanley"):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As it stands, in an empty folder, with pictures and without a warning."""
    pytest.importorskip("myst_nb", reason="the extra docs is not installed")
    from myst_nb.core.read import read_myst_markdown_notebook
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(Path(stanley.__file__).parents[1]))
    read = read_myst_markdown_notebook(notebook.read_text())
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(read, timeout=300, kernel_name="python3", resources=place).execute()
    code = [cell for cell in read.cells if cell.cell_type == "code"]
    assert [cell.source for cell in code] == [cell.rstrip("\n") for cell in cells(notebook)]
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 3
