"A lab that came from a stranger: looking at it runs none of its code, and running it finds installed packages first"
import os, re, shutil
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
import pytest
from fastcore.nbio import mk_cell, new_nb, write_nb
from embed_lab.lab import LabError, open_lab, python_command, read_lab, safe_children
from embed_lab.runs.execute import plan
from support import bin, exp, root, sh, started_emb

folders = '.', 'experiments', 'results', 'data', 'nbs'
whole_name = f'{exp},epochs=12,lr=0.01'

listing = """
import sys
from importlib.metadata import packages_distributions
from importlib.util import find_spec
known = {*packages_distributions(), *sys.stdlib_module_names} - {'__main__'}
print(*[o for o in known if o.isidentifier() and (spec := find_spec(o)) and spec.origin]) # a namespace package has none, and any module wins over it
"""

@cache
def names():
    "Every module and package that a command could import, installed or Python's own, by its first name; and what Python looks for by itself"
    found = sh(*python_command(listing), cwd=root).stdout.split() # in a new Python: setuptools, once imported, adds packages of its own to what is found
    return sorted({*found, 'sitecustomize', 'usercustomize', 'conftest', 'ipykernel_launcher', 'embed_lab', 'jax'})

def trap(lab, sprung, some=None):
    "Put a module under every name into every folder of a lab; each says so when it is executed"
    for folder in folders:
        for name in some or names():
            at = lab/folder/f'{name}.py'
            if not at.exists(): at.write_text(f'open({str(sprung)!r}, "a").write({str(at)!r} + "\\n")\nraise SystemExit("trapped")\n')
        (lab/folder/'zz.pth').write_text(f'import os; open({str(sprung)!r}, "a").write("pth")\n')
        (lab/folder/'lab').mkdir(exist_ok=True) # where nbconvert looks for templates
        (lab/folder/'lab'/'index.html.j2').write_text('trapped template')

@pytest.fixture
def trapped(whole, tmp_path):
    "A lab with a completed run and traps all over, and the file that they write to"
    lab = shutil.copytree(whole, tmp_path/'lab')
    trap(lab, tmp_path/'sprung')
    return lab, tmp_path/'sprung'

looking = [('ls', '--json'), ('compare', whole_name), ('run', exp, '--help'), ('recipes', '--for', 'data'), ('check', 'data'), ('corpus', '--help')]

def test_no_command_that_looks_runs_anything(trapped):
    lab, sprung = trapped
    for i,o in enumerate(looking): started_emb(*o, cwd=lab, ok=None if o[0] == 'check' else 0)
    for o in folders[1:]: started_emb('ls', cwd=lab/o)
    assert not sprung.exists(), sprung.read_text()

def test_no_command_that_looks_runs_anything_where_the_import_path_names_the_lab(whole, tmp_path):
    lab, sprung = shutil.copytree(whole, tmp_path/'lab'), tmp_path/'sprung'
    trap(lab, sprung, ('rich', 'typer', 'numpy', 'msgspec', 'plotly', 'papermill', 'ipykernel'))
    path = os.pathsep.join([os.environ['PYTHONPATH'], str(lab)])
    started_emb('compare', whole_name, '--report', 'page.html', cwd=lab, PYTHONPATH=path)
    assert not sprung.exists(), sprung.read_text()

def test_the_report_runs_nothing(trapped):
    lab, sprung = trapped
    started_emb('compare', whole_name, '--report', 'page.html', cwd=lab)
    assert not sprung.exists(), sprung.read_text()
    assert 'trapped template' not in (lab/'page.html').read_text()

def test_what_changes_a_lab_runs_nothing_either(trapped):
    lab, sprung = trapped
    started_emb('new', 'exp_77_mine', '--from', exp, cwd=lab)
    started_emb('reproduce', whole_name, '--archive', 'a.tar.gz', cwd=lab)
    started_emb('init', '.', cwd=lab)
    assert not sprung.exists(), sprung.read_text()

def test_a_run_finds_installed_packages_first(trapped):
    lab, sprung = trapped
    for o in folders: (lab/o/'jax.py').unlink() # not installed, and bm25s asks for it
    nb = lab/'nbs'/'01_preprocess.ipynb'
    nb.write_text(nb.read_text().replace('a no-op until the data asks for more', 'edited')) # so it is exported
    started_emb('run', exp, cwd=lab)
    started_emb('sweep', exp, '-g', 'lr=1e-3,2e-3', '--jobs', '2', cwd=lab/'experiments')
    assert not sprung.exists(), sprung.read_text()

def test_an_installed_package_does_not_take_the_place_of_the_inventory(lab, tmp_path, monkeypatch):
    for o in ('inventory/__init__.py', 'elsewhere/inventory.py'):
        at = tmp_path/'installed'/o
        at.parent.mkdir(parents=True, exist_ok=True)
        at.touch()
    monkeypatch.syspath_prepend(tmp_path/'installed')
    with pytest.raises(LabError, match="`import inventory` finds .*installed/inventory, which hides this lab's inventory/"): plan(read_lab(lab), exp, {})
    monkeypatch.syspath_prepend(tmp_path/'installed'/'elsewhere')
    with pytest.raises(LabError, match='finds .*elsewhere/inventory.py'): open_lab(lab)

def test_a_plain_kernel_finds_installed_packages_first_too(lab, tmp_path):
    "In `experiments/`, as JupyterLab starts it: from the first line of an experiment on"
    trap(lab, tmp_path/'sprung', ('torch', 'numpy', 'msgspec', 'rich', 'plotly', 'datasets', 'psutil', 'transformers', 'fastcore'))
    nb = new_nb([mk_cell(o) for o in ('from embed_lab.runs.record import start', 'from embed_lab.lab import open_lab\nopen_lab();', 'import torch, rich, inventory.train\nprint(inventory.__file__)')])
    nb['metadata']['kernelspec'] = dict(name='python3', display_name='python3', language='python')
    write_nb(nb, tmp_path/'a.ipynb')
    sh(bin/'papermill', tmp_path/'a.ipynb', tmp_path/'b.ipynb', cwd=lab/'experiments')
    assert f"{lab/'inventory'/'__init__.py'}" in (tmp_path/'b.ipynb').read_text() and not (tmp_path/'sprung').exists()

def test_only_one_place_starts_a_python():
    "Every other goes through `python_command`, so none has the working directory on its path"
    found = {o.name for o in (root/'embed_lab').rglob('*.py') if re.search(r"sys\.executable, '-[cm]|'python3?', '-", o.read_text())}
    assert found <= set() and "'-P', '-c'" in (root/'embed_lab'/'lab.py').read_text()

def test_children_of_libraries_import_nothing_from_the_working_directory(tmp_path, monkeypatch):
    for o in ('multiprocessing', 'json'): (tmp_path/f'{o}.py').write_text('raise SystemExit("trapped")')
    monkeypatch.chdir(tmp_path)
    with safe_children(), ProcessPoolExecutor(1, get_context('spawn')) as pool: assert pool.submit(abs, -3).result() == 3
    assert 'PYTHONSAFEPATH' not in os.environ
