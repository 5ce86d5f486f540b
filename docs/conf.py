"""Sphinx's configuration; `make docs` builds with warnings as errors."""

from openamp import __version__

project = "OpenAMP in Python"
author = "the OpenAMP in Python authors"
copyright = "2026, " + author
release = __version__
extensions = [
    "myst_parser",
    "sphinxcontrib.mermaid",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
html_theme = "furo"
html_title = project
exclude_patterns = ["adr/template.md"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # an "Attributes" section does not define the attributes a second time
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]
# Docstrings are Markdown where they have tables and code; napoleon handles their sections.
suppress_warnings = ["docutils", "ref.python"]
