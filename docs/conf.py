"""Sphinx: the site of ``make docs``, built without a network from the pages of this repository and its docstrings."""

import cpnet

project = "cpnet"
version = release = cpnet.__version__
extensions = ["myst_parser", "sphinx.ext.apidoc", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "docs/api/*.rst", "experiments/README.md", "benchmarks/README.md"]

html_theme = "furo"
html_title = "cpnet"
html_additional_pages = {"index": "redirect.html"}
templates_path = ["templates"]
html_show_copyright = False

myst_heading_anchors = 3
myst_enable_extensions = ["html_image"]

apidoc_modules = [
    {"path": "../src/cpnet", "destination": "docs/api", "separate_modules": True, "module_first": True},
]
autodoc_default_options = {"members": True, "undoc-members": True, "show-inheritance": True, "ignore-module-all": True}
autodoc_typehints = "signature"
autodoc_type_aliases = {name: name for name in ("ArrayLike", "Floats", "Key", "Loss", "Progress", "Ranked", "Reader")}
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Shape", "params_style")]
