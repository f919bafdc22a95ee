"The wheel, installed where nothing of the checkout is in reach"
import json, sys, sysconfig, venv
from functools import partial
from pathlib import Path
import pytest
import support
from support import root

sh = partial(support.sh, PYTHONPATH='') # nor is it found there

@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp('wheel')
    sh(sys.executable, '-m', 'build', '--outdir', out, root, cwd=out)
    [path] = out.glob('*.whl')
    return path

def install(bin, what):
    "Install into a virtual environment; a module is compiled when it is first imported, which most never are"
    sh(bin/'pip', 'install', '-q', '--no-compile', '-c', root/'constraints.txt', what, cwd=bin)

@pytest.fixture(scope='module')
def core(wheel, tmp_path_factory):
    "A new environment with the wheel in it"
    path = tmp_path_factory.mktemp('core')
    venv.create(path, with_pip=True)
    install(path/'bin', wheel)
    return path/'bin'

def test_the_core_alone_makes_a_lab_and_names_the_missing_extra(core, tmp_path):
    assert sh(core/'emb', '--version', cwd=tmp_path).stdout.startswith('emb ')
    assert 'exp_02_in_batch' in sh(core/'emb', 'recipes', cwd=tmp_path).stdout
    sh(core/'emb', 'init', 'lab', cwd=tmp_path)
    assert (tmp_path/'lab'/'inventory'/'train.py').exists()
    res = sh(core/'emb', 'run', 'exp_02_in_batch', cwd=tmp_path/'lab', ok=2)
    assert res.stderr.count('\n') == 1 and "pip install 'embed-lab[lab]'" in res.stderr
    assert sorted(o.name for o in (tmp_path/'lab'/'results').rglob('*') if o.is_file()) == ['.gitkeep']*3 + ['exports.json']

def test_both_recipes_run_from_the_wheel(core, wheel, base, data, tmp_path):
    "In the same environment, once it has what the extra asks for: found where these tests found it, since an installation takes minutes"
    bin = core
    site = sh(bin/'python', '-c', "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).stdout.strip()
    (Path(site)/'lab.pth').write_text(sysconfig.get_path('purelib')) # after its own, and the .pth files of a folder named in one are not read
    sh(bin/'emb', 'init', 'lab', '--data', data, cwd=tmp_path)
    lab = tmp_path/'lab'
    ini = lab/'settings.ini'
    ini.write_text(ini.read_text().replace('model = sentence-transformers/all-MiniLM-L6-v2', f'model = {base}'))
    sh(bin/'emb', 'run', 'exp_01_baseline', 'exp_02_in_batch', cwd=lab)
    listed = json.loads(sh(bin/'emb', 'ls', '--json', cwd=lab).stdout)
    assert [o['status'] for o in listed.values()] == ['completed']*2
    where = sh(bin/'python', '-c', 'import embed_lab; print(embed_lab.__file__)', cwd=lab).stdout
    assert where.startswith(str(bin.parent))
