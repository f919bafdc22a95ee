"Print the README that `nbs/index.ipynb` makes: python tests/readme.py > README.md"
import re
from pathlib import Path
import nbformat
from nbconvert import MarkdownExporter

def readme()->str:
    "The index as Markdown, without nbdev's directives"
    nb = nbformat.read(Path(__file__).resolve().parent.parent/'nbs'/'index.ipynb', 4)
    for o in nb.cells: o.source = re.sub(r'\A(#\|.*\n)+\n*', '', o.source)
    return MarkdownExporter().from_notebook_node(nb)[0].strip() + '\n'

if __name__ == '__main__': print(readme(), end='')
