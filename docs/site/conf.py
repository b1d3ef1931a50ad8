"""What Sphinx is told. ``build.py`` beside this file prepares the pages and runs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pullback as pb

sys.path.insert(0, str(Path(__file__).parent))

project = "Pullback"
author = copyright = "The Pullback maintainers"
version = release = pb.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "mathml",
    "sphinx_copybutton",
]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "dollarmath"]
autodoc_typehints = "none"
napoleon_numpy_docstring = False
copybutton_exclude = ".linenos, .gp, .go"

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = f"Pullback {release}"
html_static_path = ["static"]
html_css_files = ["pullback.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "Pullback"},
    "navbar_align": "left",
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
