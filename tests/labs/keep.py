"""Keep a lab as this toolkit makes it, for later toolkits to be tried on: python tests/labs/keep.py

Run it once a release, and never again for a version that has been released: labs in the field do not change either."""
import shutil, subprocess, sys
from pathlib import Path
from tempfile import TemporaryDirectory
from embed_lab import __version__
from embed_lab.lab import toolkit_requirement

here = Path(__file__).resolve().parent
recipes = [o.stem.split('_', 2)[2].replace('_', '-') for o in sorted((here.parent.parent/'nbs'/'experiments').glob('exp_*.ipynb'))]

def keep(to:Path):
    "Make a lab of all recipes, without data"
    with TemporaryDirectory() as home:
        lab = Path(home)/'lab'
        wanted = [o for r in recipes for o in ('--recipe', 'pairwise' if r == 'baseline' else r)]
        subprocess.run([Path(sys.executable).parent/'emb', 'init', lab, *wanted], check=True)
        shutil.rmtree(to, ignore_errors=True)
        ignored = shutil.ignore_patterns('__pycache__', 'data', 'results', 'inventory')
        shutil.copytree(lab, to, ignore=ignored)
        project = to/'pyproject.toml'
        project.write_text(project.read_text().replace(toolkit_requirement(), f'embed-lab[lab]=={__version__}')) # not this checkout

if __name__ == '__main__': keep(here/__version__)
