"Print the README that `nbs/index.ipynb` makes: python tests/readme.py > README.md"
from pathlib import Path
from nbconvert import MarkdownExporter

def readme()->str: return MarkdownExporter().from_filename(str(Path(__file__).parent.parent/'nbs'/'index.ipynb'))[0].strip() + '\n'

if __name__ == '__main__': print(readme(), end='')
