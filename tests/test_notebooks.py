"""Objects show themselves: a readable line, a table that no name can break, a picture."""

from __future__ import annotations

import io
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

import stanley
from stanley.judging.diagnose import Effort
from stanley.notebooks import in_a_line, in_html
from stanley.plots import chain_traces, energy_landscape, image_grid
from stanley.runs.directory import RunDirectory
from stanley.targets import Banana

NAME = "<script>alert('α & β')</script>"
EFFORT = Effort(chains=4, steps=8, pairs=0, rays=0, copies=0)


class Page(HTMLParser):
    """The tags of a piece of HTML, each opened and closed, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.tags, self.text = [], set(), ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from dataclasses import replace

    path = tmp_path_factory.mktemp("run") / "a <b> & 'c'"
    return stanley.train(replace(stanley.recipe("rings-contrastive"), steps=3), path)


def shown(thing) -> Page:
    page = Page(thing._repr_html_())
    assert "script" not in page.tags
    assert "b" not in page.tags
    return page


def test_a_name_is_text():
    page = Page(in_html(NAME, {NAME: NAME}))
    assert page.tags == {"table", "caption", "tbody", "tr", "th", "td"}
    assert page.text == 3 * NAME
    assert in_a_line("Run", {"step": 3, "path": "a"}) == "Run(step 3, path a)"


def test_a_run(run):
    assert "a <b> & 'c'" in shown(run).text
    assert "step 3 of 3" in repr(run)
    assert "mlp" in repr(run)
    assert "\n" not in repr(run)


def test_a_run_that_is_not_there_or_damaged_shows_itself_too(run, tmp_path):
    assert "cannot be read" in repr(RunDirectory(tmp_path / "nothing"))
    broken = RunDirectory(tmp_path)
    for config in ("{", "[]", '{"data": 3, "steps": "x"}'):
        broken.config_file.write_text(config)
        assert "cannot be read" in shown(broken).text
    broken.config_file.write_text(run.config_file.read_text())
    for records in ("", '{"step": 1', "nonsense\n", '{"step": 2}\n{"st'):
        broken.records_file.write_text(records)
        assert f"step {2 if '2' in records else 0} of 3" in repr(broken)


def test_scores_are_shown(run, tmp_path):
    scored = RunDirectory(tmp_path)
    scored.config_file.write_text(run.config_file.read_text())
    scored.scores_file.write_text('{"kl": 0.0123, "tv": null}')
    assert "KL 0.0123" in repr(scored)
    assert "total variation" not in repr(scored)


def test_a_trained_energy(run):
    model = stanley.load(run)
    assert "a <b> & 'c'" in shown(model).text
    assert "step 3 of 3" in repr(model)
    assert len(repr(model)) < 400


def test_chains():
    out = stanley.run_chains("mala", Banana(), torch.zeros(8, 2), 5, seed=0, keep_every=1)
    told = repr(out)
    assert told.startswith("ChainResult(x (8, 2), draws (5, 8, 2), acceptance ")
    assert "acceptance" in shown(out).text
    lost = stanley.run_chains("langevin", lambda x: -(x**4).sum(1), torch.ones(3, 2), 90, seed=0)
    assert "not finite 3 of 3" in repr(lost)


def test_a_diagnosis():
    found = stanley.diagnose("mala", Banana(), seed=0, effort=EFFORT)
    assert repr(found).startswith("Diagnosis of mala\nchains: ")
    assert len(repr(found)) < 3000
    assert {"table", "p"} <= shown(found).tags


def test_draws_and_their_table():
    out = stanley.draw(Banana(), seed=0, chains=4, warm_up=20, ess=1, rhat=9.0, budget=1)
    assert {"table", "p"} <= shown(out).tags
    named = stanley.diagnostics.summary_by_name(torch.randn(8, 4, 1), [NAME])
    assert NAME in shown(named).text


FIGURES = {
    "traces": lambda: chain_traces(torch.randn(20, 4, 2).numpy()),
    "landscape": lambda: energy_landscape(torch.rand(20, 20).numpy(), 1.0),
    "grid": lambda: image_grid((255 * torch.rand(4, 1, 8, 8)).byte().numpy()),
}


@pytest.mark.parametrize("name", list(FIGURES))
def test_a_figure_is_a_picture(name):
    figure = FIGURES[name]()
    picture = Image.open(io.BytesIO(figure._repr_png_()))
    picture.load()
    assert picture.format == "PNG"
    width, height = figure.get_size_inches() * 130
    assert abs(picture.width - width) <= 1
    assert abs(picture.height - height) <= 1
    assert len(set(picture.convert("L").tobytes())) > 1  # it is not empty
