"""The site: `make docs` builds it into docs/_build/html, and executes the notebooks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "extensions"), str(HERE.parent / "src")]
# the notebooks run in processes of their own, with this library and one thread each
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(HERE.parent / "src"), os.environ.get("PYTHONPATH", "")]
).rstrip(os.pathsep)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")

from stanley import __version__  # noqa: E402

project = "stanley"
author = "the authors of stanley"
release = version = __version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "docstrings",
    "forge_links",
]
exclude_patterns = ["_build", "extensions"]
root_doc = "index"
smartquotes = False  # p' is not p’, nor --sampler –sampler

html_theme = "furo"
html_title = "stanley"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_theme_options = {
    "source_edit_link": "",
    "light_css_variables": {"color-brand-primary": "#0b5c8e", "color-brand-content": "#0b5c8e"},
    "dark_css_variables": {"color-brand-primary": "#6db8e8", "color-brand-content": "#6db8e8"},
}
pygments_style = "friendly"
pygments_dark_style = "github-dark"

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "force"  # always: a notebook on the site is one that runs
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_render_markdown_format = "gfm"  # tables too

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "inherited-members": False}
python_maximum_signature_line_length = 80
add_module_names = False
toc_object_entries_show_parents = "hide"
