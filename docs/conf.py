"How Sphinx makes the site; `python docs/build.py` prepares what it reads"
from embed_lab import __version__

project, author, copyright = 'Embed Lab', 'The Embed Lab developers', 'the Embed Lab developers, Apache-2.0'
version = release = __version__
extensions = ['myst_nb', 'sphinx_copybutton']
myst_enable_extensions = ['colon_fence', 'attrs_inline']
myst_heading_anchors = 3
nb_execution_mode = 'off' # a lesson is run by the tests, and a tutorial when the site is built: what is shown is what came out
nb_render_text_lexer = 'none'
exclude_patterns = ['_*']
html_theme = 'furo'
html_title = 'Embed Lab'
html_static_path = ['_static']
html_css_files = ['site.css']
html_show_sphinx = False
html_copy_source = False
copybutton_prompt_text = r'\$ |>>> '
copybutton_prompt_is_regexp = True
pygments_style, pygments_dark_style = 'friendly', 'github-dark'
