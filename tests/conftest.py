"A lab on a model made on the spot, and the ways into it"
import os, subprocess, sys
from pathlib import Path
import pytest

# which of fp32 and bf16 is faster is a matter of the moment on a busy machine; two tests run at a time, and threads that wait for each other's cores do so at full speed
os.environ.update(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false', EMB_HARDWARE='cpu fp32', OMP_NUM_THREADS='1')
root = Path(__file__).resolve().parent.parent
bin = Path(sys.executable).parent
too_fast = 'mtime may not be reliable' # transformers, when checkpoints of a tiny model follow each other within a tick

def sh(*args, cwd, ok=0, timeout=900, **env):
    "Run a command and return what it did; `ok` is the exit code that is wanted, None for any"
    res = subprocess.run([str(o) for o in args], cwd=cwd, env=os.environ | env, capture_output=True, text=True, timeout=timeout)
    assert ok is None or res.returncode == ok, f"{' '.join(map(str, args))}: exit {res.returncode}\n{res.stdout[-4000:]}\n{res.stderr[-4000:]}"
    return res

def emb(*args, cwd, ok=0, **env): return sh(bin/'emb', *args, cwd=cwd, ok=ok, **env)

def small_data(folder:Path)->Path:
    "The head of the sample, enough to train a tiny model in a second"
    from embed_lab.data.files import write_rows
    from embed_lab.data.sample import mine_sample
    rows = mine_sample()
    for k,n in dict(train=600, dev=120, gold=120).items(): write_rows(folder/f'{k}.jsonl', rows[k][:n])
    return folder

@pytest.fixture(scope='session')
def data(tmp_path_factory): return small_data(tmp_path_factory.mktemp('data'))

@pytest.fixture(scope='session')
def base(tmp_path_factory, data):
    "A base model made on the spot"
    from embed_lab.models.base import tiny_model
    from embed_lab.data.reading import read_rows
    path = tmp_path_factory.mktemp('base')
    tiny_model([t for o in read_rows(data/'train.jsonl') for t in (o['query'], o['passage'])]).save_pretrained(str(path))
    return path

@pytest.fixture
def lab(tmp_path, data, base):
    "A fresh lab on small data and the tiny model"
    path = tmp_path/'my_lab'
    emb('init', path, '--data', data, cwd=tmp_path)
    ini = path/'settings.ini'
    ini.write_text(ini.read_text().replace('model = sentence-transformers/all-MiniLM-L6-v2', f'model = {base}'))
    return path

# a run that nothing cut short, to compare with

exp = 'exp_02_in_batch'
whole_run = exp, '-p', 'epochs', 12, '-p', 'lr', .01

def made_lab(path, data, base):
    "A lab of one recipe"
    emb('init', path, '--data', data, '--recipe', 'in-batch', cwd=path.parent)
    ini = path/'settings.ini'
    ini.write_text(ini.read_text().replace('model = sentence-transformers/all-MiniLM-L6-v2', f'model = {base}'))
    return path

@pytest.fixture(scope='session')
def shaky(tmp_path_factory, base):
    "The tiny model with dropout, so that random numbers matter"
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dropout
    path = tmp_path_factory.mktemp('shaky')
    SentenceTransformer(modules=[*SentenceTransformer(str(base), device='cpu', local_files_only=True), Dropout(.3)], device='cpu').save_pretrained(str(path))
    return path

@pytest.fixture(scope='session')
def whole(tmp_path_factory, data, shaky):
    "A lab with a completed run; tests copy it"
    lab = made_lab(tmp_path_factory.mktemp('whole')/'lab', data, shaky)
    emb('run', *whole_run, cwd=lab)
    return lab
