"Base models side by side before anything is trained: in folders and behind a URL, on dev and gold"
import json, shutil
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
import pytest
from embed_lab.data.reading import read_rows
from embed_lab.evaluation.compare import compare
from embed_lab.lab import read_lab
from embed_lab.models.base import load_model
from support import emb, made_lab, manifest

exp = 'exp_10_bake_off'

@contextmanager
def serving(model, asked):
    "A model behind a URL, as OpenAI's protocol has it; what it was sent goes to `asked`"
    class Handler(BaseHTTPRequestHandler):
        def reply(self, status, said):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())
        def do_GET(self): self.reply(200, dict(data=[dict(id='tiny')]))
        def do_POST(self):
            texts = json.loads(self.rfile.read(int(self.headers['Content-Length'])))['input']
            asked.extend((self.headers['Authorization'], o) for o in texts)
            vecs = model.encode(texts, convert_to_numpy=True).tolist()
            self.reply(200, dict(data=[dict(index=i, embedding=v) for i,v in enumerate(vecs)]))
        def log_message(self, *args): pass
    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        Thread(target=server.serve_forever, args=(.01,), daemon=True).start()
        try: yield f'http://127.0.0.1:{server.server_port}/v1'
        finally: server.shutdown()

@pytest.fixture(scope='module')
def home(tmp_path_factory, data, base, bert):
    lab = made_lab(tmp_path_factory.mktemp('bake_off')/'lab', data, base, ('bake-off',))
    shutil.copytree(bert, lab/'models'/'bert')
    return lab

def result(lab, name): return json.loads((lab/'results'/name/'eval'/'bake_off.json').read_text())
def made(lab): return next(o for o in (lab/'results').glob(f'{exp}*') if (o/'eval'/'bake_off.json').exists())

def test_models_in_folders_and_behind_a_url_stand_in_one_table(home, base, monkeypatch):
    monkeypatch.setenv('EMBEDDINGS_API_KEY', 'sk-never-written')
    asked = []
    with serving(load_model(base), asked) as url:
        models = json.dumps(['models/bert', url])
        emb('run', exp, '-p', 'models', models, cwd=home)
        run, first = made(home), len(asked)
        said = result(home, run.name)
        rows = {o['name']: o for o in said['candidates']}
        served = next(k for k in rows if k.startswith('127.0.0.1'))
        own, = rows.keys() - {served, 'bert'}
        assert rows[own]['dev'] == pytest.approx(rows[served]['dev'], abs=1e-6) and rows[own]['gold'] == pytest.approx(rows[served]['gold'], abs=1e-6) # they are one model
        assert rows[own]['dimension'] == rows[served]['dimension'] and all(o['seconds_per_thousand'] > 0 for o in rows.values())
        assert said['decider'] == 'dev' and said['best'] in rows and 'Models that are alike untuned may part' in said['says']
        assert {o for o,_ in asked} == {'Bearer sk-never-written'} and not [o for o in home.rglob('*') if o.is_file() and b'sk-never-written' in o.read_bytes()]
        emb('run', exp, '-p', 'models', models, '--restart', cwd=home)
        assert len(asked) - first < 10 # its vectors were kept
        assert result(home, run.name)['candidates'] == said['candidates']
    m = manifest(run)
    assert m['stages']['dev']['file'] == 'dev.jsonl' and m['outcome']['weights'] is None and m['inputs']['models'].keys() == {'models 1'}
    shown = ''.join(''.join(o.get('data', {}).get('text/html', '')) for c in json.loads((run/f'{exp}.ipynb').read_text())['cells'] for o in c.get('outputs', ()))
    assert 'against the best, on dev' in shown and 'seconds per 1,000 documents' in shown
    scores = json.loads((run/'eval'/'gold_metrics.json').read_text())['systems']
    assert {'base', 'bert', served, 'bm25', 'fused_base', 'oracle'} == {*scores} and scores['bert']['ndcg@10']['mean'] == rows['bert']['gold']['mean']

def test_another_dev_makes_another_bake_off(home, tmp_path):
    lab = shutil.copytree(home, tmp_path/'lab', ignore=shutil.ignore_patterns('results'))
    emb('run', exp, '-p', 'models', '["models/bert"]', cwd=lab)
    assert 'is up to date' in emb('run', exp, '-p', 'models', '["models/bert"]', cwd=lab).stdout
    with open(lab/'data'/'dev.jsonl', 'a') as f: f.write(json.dumps(dict(query='one more', passage='of dev', label=1)) + '\n')
    with open(lab/'data'/'train.jsonl', 'a') as f: f.write(json.dumps(dict(query='one more', passage='of train', label=1)) + '\n')
    res = emb('run', exp, '-p', 'models', '["models/bert"]', cwd=lab)
    assert 'because data/dev.jsonl has changed' in res.stderr and 'train.jsonl' not in res.stderr
    emb('new', 'exp_12', '--from', exp, cwd=lab)
    assert json.loads((lab/'experiments'/'exp_12.ipynb').read_text())['metadata']['embed_lab']['reads_dev'] is True

def test_gold_alone_is_enough_and_then_gold_decides(home, tmp_path):
    lab = shutil.copytree(home, tmp_path/'lab', ignore=shutil.ignore_patterns('results'))
    for o in ('train', 'dev'): (lab/'data'/f'{o}.jsonl').unlink()
    emb('run', exp, '-p', 'models', '["models/bert"]', cwd=lab)
    said = result(lab, made(lab).name)
    assert said['decider'] == 'gold' and 'chosen by gold, for want of dev' in said['says'] and [o['dev'] for o in said['candidates']] == [None, None]
    emb('new', 'exp_11', '--recipe', 'untuned', cwd=lab)
    emb('run', 'exp_11', cwd=lab)
    res = compare(read_lab(lab), [made(lab).name, 'exp_11'])
    assert [n for _,n,_ in res.rows if n == 'bert'] and res.pairs[0].verdict.effect == 0

@pytest.mark.parametrize('models, why', [('["models/none"]', 'models/none'), ('["http://127.0.0.1:9/v1"]', 'no server answers there'), ('["http://me:secret@here/v1"]', 'assword'), ('["data"]', 'data')])
def test_a_model_that_cannot_be_asked_is_named_in_one_line(home, models, why):
    res = emb('run', exp, '-p', 'models', models, cwd=home, ok=None)
    said = [o for o in res.stderr.splitlines() if o.startswith('emb: ')]
    assert res.returncode in (1, 2) and len(said) == 1 and why in said[0] and 'secret@' not in res.stdout + res.stderr, res.stderr
