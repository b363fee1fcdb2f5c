"""The site, which ``make docs`` builds with Sphinx.

The source folder is the whole repository. A link from one file to another then leads to the same
file on the site: to its page where it is one of the pages, else to a copy of it.
"""

from mmconvnext import __version__

project = 'mmconvnext'
version = release = __version__
root_doc = 'docs/index'
include_patterns = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'benchmarks/*.md', 'docs/**']
exclude_patterns = ['.*', 'data', 'site', 'work_dirs']  # folders that are not even searched

extensions = [
    'myst_parser',  # pages in Markdown
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',  # docstrings with Args, Returns and Raises
    'sphinx.ext.viewcode',
]
myst_heading_anchors = 3  # links to headings, as in #supported-files

napoleon_use_rtype = False  # what stands before the colon in Returns is text, not a type

autodoc_default_options = {'members': True, 'no-value': True, 'show-inheritance': True}
autodoc_inherit_docstrings = False
autodoc_member_order = 'bysource'
autodoc_preserve_defaults = True

# A name in a docstring or in an annotation has to be in the reference, unless it is from elsewhere.
nitpicky = True
nitpick_ignore_regex = [
    ('py:.*', r'(collections|contextlib|pathlib|pickle|types)\..*'),
    ('py:.*', r'(mmcv|mmdet|mmengine|mmseg|numpy|torch)\..*'),
]

html_theme = 'furo'  # has its fonts from the system: the site asks no other server for anything
html_title = f'mmconvnext {version}'
html_show_copyright = False
html_copy_source = False
html_extra_path = ['index.html']  # from the top of the site to its first page
