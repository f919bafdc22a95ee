"A lab on a model made on the spot"
import os, shutil, sys
import pytest
from support import emb, keep_checkpoints, made_lab, root, small_data, whole_run

# which of fp32 and bf16 is faster is a matter of the moment on a busy machine; two tests run at a time, and threads that wait for each other's cores do so at full speed
os.environ.update(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false', EMB_HARDWARE='cpu fp32', OMP_NUM_THREADS='1', RAY_USAGE_STATS_ENABLED='0')
os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [str(root/'tests'), os.environ.get('PYTHONPATH')])) # forks find `support` there

@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call():
    "Forget the name of the test at hand, which pytest keeps in a variable: one process forks for all that have the same variables"
    os.environ.pop('PYTEST_CURRENT_TEST', None)

@pytest.fixture(scope='session')
def data(tmp_path_factory): return small_data(tmp_path_factory.mktemp('data'))

@pytest.fixture(scope='session')
def base(tmp_path_factory, data):
    "A base model made on the spot"
    from embed_lab.models.base import tiny_model
    from embed_lab.data.reading import read_rows
    path = tmp_path_factory.mktemp('base')
    rows = [o for k in ('train', 'dev', 'gold') for o in read_rows(data/f'{k}.jsonl')] # it knows every word, so no run warns of unknown ones
    tiny_model([t for o in rows for t in (o['query'], o['passage'])]).save_pretrained(str(path))
    return path

@pytest.fixture(scope='session')
def bert(tmp_path_factory, data):
    "A transformer made on the spot"
    from embed_lab.data.reading import read_rows
    from embed_lab.models.base import tiny_transformer
    path = tmp_path_factory.mktemp('bert')
    tiny_transformer([t for o in read_rows(data/'train.jsonl') for t in (o['query'], o['passage'])]).save_pretrained(str(path))
    return path

@pytest.fixture(scope='session')
def fresh(tmp_path_factory, data, base):
    "A fresh lab on small data and the tiny model; nothing is changed in it"
    return made_lab(tmp_path_factory.mktemp('fresh')/'my_lab', data, base, ())

@pytest.fixture
def lab(tmp_path, fresh):
    "A fresh lab of one's own"
    return shutil.copytree(fresh, tmp_path/'my_lab')

@pytest.fixture
def own_path(monkeypatch):
    "A process begins runs of one lab; tests begin them in many"
    monkeypatch.setattr(sys, 'path', [*sys.path])
    yield
    for o in [o for o in sys.modules if o.split('.')[0] == 'inventory']: del sys.modules[o]

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
    lab = keep_checkpoints(made_lab(tmp_path_factory.mktemp('whole')/'lab', data, shaky))
    emb('run', *whole_run, cwd=lab)
    return lab

# two workers end at the same time where what is long comes first and what is short last: lessons, one by one
long = [f'test_{o}.py' for o in ('wheel', 'lab', 'cluster', 'minilm', 'truth', 'recipes_models', 'resume', 'browser', 'sweep', 'recipes_teachers', 'devices', 'warm', 'reproduce', 'recipes')]

def pytest_collection_modifyitems(items):
    def place(item): return long.index(item.path.name) if item.path.name in long else len(long) + (item.path.name == 'test_lessons.py')
    items.sort(key=place)

def pytest_xdist_make_scheduler(config, log):
    "As --dist loadfile, except that each lesson goes where there is room for it"
    from xdist.scheduler import LoadFileScheduling
    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return nodeid if file.endswith('test_lessons.py') else file
    return Scheduling(config, log)
