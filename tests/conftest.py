"A lab on a model made on the spot"
import os, shutil
import pytest
from support import emb, made_lab, root, small_data, whole_run

# which of fp32 and bf16 is faster is a matter of the moment on a busy machine; two tests run at a time, and threads that wait for each other's cores do so at full speed
os.environ.update(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false', EMB_HARDWARE='cpu fp32', OMP_NUM_THREADS='1')
os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [str(root/'tests'), os.environ.get('PYTHONPATH')])) # forks find `support` there

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
