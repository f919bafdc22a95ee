"A model goes to a hub, here a small one on localhost: all that belongs and nothing else, private, whole, and never a token in a message"
import base64, json, shutil, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.files import write_json
from embed_lab.runs.manifest import mock_manifest
from embed_lab.runs.results import result_facts
from support import started_emb

token = 'hf_' + 'aB3dE5gH7j'*3

class Hub(ThreadingHTTPServer):
    "Repositories, with what was committed to each"
    def __init__(self):
        super().__init__(('127.0.0.1', 0), Handler)
        self.repos, self.stored, self.deny, self.seen = {}, {}, None, []
    @property
    def url(self): return f'http://127.0.0.1:{self.server_port}'

class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def answer(self, code, value=None, **headers):
        body = json.dumps(value).encode()
        self.send_response(code)
        for k,v in {'Content-Type': 'application/json', 'Content-Length': str(len(body)), 'X-Request-Id': '1', **headers}.items(): self.send_header(k, v)
        self.end_headers()
        self.wfile.write(body)
    def begin(self):
        hub, body = self.server, self.rfile.read(int(self.headers.get('Content-Length') or 0))
        if self.headers.get('Transfer-Encoding') == 'chunked':
            while n := int(self.rfile.readline(), 16): body, _ = body + self.rfile.read(n), self.rfile.readline()
            self.rfile.readline()
        hub.seen.append(self.path)
        if self.path.startswith('/stored/'): return body
        if hub.deny or self.headers.get('Authorization') != f'Bearer {token}': return self.answer(hub.deny or 401, dict(error=f'no, {token}'))
        return body
    def do_GET(self):
        if self.begin() is None: return
        repo = self.path.removeprefix('/api/models/').split('?')[0]
        if repo not in self.server.repos: return self.answer(404, dict(error='Repository not found'), **{'X-Error-Code': 'RepoNotFound'})
        r = self.server.repos[repo]
        self.answer(200, dict(id=repo, private=r['private'], siblings=[dict(rfilename=o) for o in r['files']], tags=[]))
    def do_PUT(self):
        self.server.stored[self.path.rpartition('/')[2]] = self.begin()
        self.answer(200, {})
    def do_POST(self):
        if (body := self.begin()) is None: return
        hub, path = self.server, self.path
        if path == '/api/repos/create':
            asked = json.loads(body)
            repo = '/'.join(filter(None, (asked.get('organization'), asked['name'])))
            private = asked.get('private', asked.get('visibility') == 'private')
            hub.repos[repo] = dict(private=private, files={})
            return self.answer(200, dict(url=f'{hub.url}/{repo}', name=repo, id=repo))
        if path == '/api/validate-yaml': return self.answer(200, dict(errors=[], warnings=[]))
        if '/preupload/' in path:
            files = json.loads(body)['files']
            return self.answer(200, dict(files=[dict(path=o['path'], uploadMode='lfs' if o['path'].endswith('.safetensors') else 'regular', shouldIgnore=False) for o in files]))
        if path.endswith('/info/lfs/objects/batch'):
            objects = [dict(oid=o['oid'], size=o['size'], actions=dict(upload=dict(href=f"{hub.url}/stored/{o['oid']}"))) for o in json.loads(body)['objects']]
            return self.answer(200, dict(transfer='basic', objects=objects))
        repo = path.split('/commit/')[0].removeprefix('/api/models/')
        files = hub.repos[repo]['files']
        for line in map(json.loads, body.splitlines()):
            v = line['value']
            if line['key'] == 'file': files[v['path']] = base64.b64decode(v['content'])
            if line['key'] == 'lfsFile': files[v['path']] = hub.stored[v['oid']]
            if line['key'] == 'deletedFile': del files[v['path']]
        self.answer(200, dict(success=True, commitOid='c0ffee' + '0'*34, commitUrl=f'{hub.url}/{repo}/commit/c0ffee', hookOutput=''))

@pytest.fixture
def hub(monkeypatch):
    "A hub that is asked, by someone with a token"
    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv('HF_ENDPOINT', server.url)
        monkeypatch.setenv('HF_TOKEN', token)
        monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', False)
        monkeypatch.setattr('huggingface_hub.constants.HF_HUB_DISABLE_XET', True) # as for hubs of one's own, which take LFS alone
        yield server
        server.shutdown()

@pytest.fixture
def run(tmp_path, base, monkeypatch):
    "The folder of a completed run that no one has computed"
    (tmp_path/'settings.ini').write_text('[DEFAULT]\n')
    path = tmp_path/'results'/'exp_01'
    shutil.copytree(base, path/'final')
    (path/'final'/'README.md').write_text('---\ntags: [embed-lab]\n---\n# exp_01\n')
    (path/'exp_01.ipynb').write_text('{}')
    write_json(path/'eval'/'gold_metrics.json', {})
    write_json(path/'run.json', mock_manifest(experiment='exp_01', **result_facts(path)))
    monkeypatch.chdir(tmp_path)
    return path

def push(*args):
    res = CliRunner().invoke(app, ['push', *map(str, args)])
    assert token not in res.output
    return res.exit_code, res.output

def test_all_that_belongs_arrives_and_nothing_else(run, hub):
    for o in ('train.jsonl', 'mine.json', '.env', 'notes.ipynb'): (run/'final'/o).write_text('{"query": "secret"}')
    (run/'final'/'link.json').symlink_to(run/'run.json')
    code, said = push('exp_01', 'org/name')
    sent = hub.repos['org/name']
    assert code == 0 and sent['private'] and 'pushed ' in said and 'left out: .env, link.json, mine.json, notes.ipynb, train.jsonl' in said
    own = [o for o in run.joinpath('final').rglob('*') if o.is_file() and o.name not in ('train.jsonl', 'mine.json', '.env', 'notes.ipynb', 'link.json')]
    assert sent['files'] == {o.relative_to(run/'final').as_posix(): o.read_bytes() for o in own}

def test_what_arrives_is_the_model(run, hub, tmp_path):
    assert push('exp_01', 'org/name')[0] == 0
    for name,data in hub.repos['org/name']['files'].items():
        (tmp_path/'back'/name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/'back'/name).write_bytes(data)
    from embed_lab.models.base import load_model
    from embed_lab.models.vectors import encode
    assert (encode(load_model(tmp_path/'back'), ['read a file'], 'query') == encode(load_model(run/'final'), ['read a file'], 'query')).all()

def test_a_dry_run_asks_no_hub(run, hub):
    code, said = push('exp_01', 'org/name', '--dry-run')
    assert code == 0 and 'to org/name, private: ' in said and 'model.safetensors' in said and not hub.seen

def test_visibility_is_asked_for_and_kept(run, hub):
    assert push('exp_01', 'org/open', '--public')[0] == 0 and not hub.repos['org/open']['private']
    code, said = push('exp_01', 'org/open')
    assert code == 2 and 'org/open is public on the hub' in said
    assert push('exp_01', 'org/name')[0] == 0
    code, said = push('exp_01', 'org/name', '--public')
    assert code == 2 and 'is private on the hub' in said and hub.repos['org/name']['private']

def test_what_an_earlier_push_left_does_not_mix_with_this_model(run, hub):
    hub.repos['org/name'] = dict(private=True, files={'2_Dense/model.safetensors': b'', 'LICENSE': b'mine'})
    code, said = push('exp_01', 'org/name')
    assert code == 0 and 'deleted 2_Dense/model.safetensors' in said and 'LICENSE' in hub.repos['org/name']['files'] and '2_Dense/model.safetensors' not in hub.repos['org/name']['files']

def test_leaks_stay_at_home(run, hub, tmp_path):
    m = json.loads((run/'run.json').read_text()) | dict(leaks=['3 queries of gold are also in train'])
    write_json(run/'run.json', m)
    shutil.copytree(run/'final', tmp_path/'export')
    write_json(tmp_path/'export'/'export.json', dict(run='exp_01'))
    for o in ('exp_01', run/'final', tmp_path/'export'):
        code, said = push(o, 'org/name')
        assert code == 2 and '3 queries of gold' in said and '--despite-leaks' in said
    (tmp_path/'export'/'export.json').unlink()
    (tmp_path/'export'/'README.md').write_text('> **Allowed leak:** much. The scores are too high.\n')
    assert push('export', 'org/name')[0] == 2
    assert not hub.seen and push('exp_01', 'org/name', '--despite-leaks')[0] == 0

def test_a_model_that_is_not_the_runs_stays(run, hub):
    weights = run/'final'/'model.safetensors'
    weights.write_bytes(weights.read_bytes()[:-4])
    code, said = push('exp_01', 'org/name')
    assert code == 2 and 'no longer has the model that it made' in said and not hub.seen

@pytest.mark.parametrize('args, says', [(['exp_99', 'org/name'], 'no run `exp_99`'), (['exp_01', 'name'], 'write ORG/NAME'), (['exp_01', '../up'], 'is not a name on a hub'), (['exp_01', 'org/na me'], 'is not a name on a hub')])
def test_bad_names_are_one_line(run, hub, args, says):
    code, said = push(*args)
    assert code == 2 and says in said and not hub.seen

@pytest.mark.parametrize('deny, says', [(401, 'does not know this token'), (403, 'may not write there'), (500, 'the hub refuses it (500')])
def test_a_hub_that_refuses_is_one_line_without_the_token(run, hub, deny, says):
    hub.deny = deny
    code, said = push('exp_01', 'org/name')
    assert code == 2 and says in said and said.strip().split('\n')[-1].startswith('emb: ')

def test_no_hub_no_token_and_offline_are_known_at_once(run, hub, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9')
    assert 'the hub cannot be reached' in push('exp_01', 'org/name')[1]
    monkeypatch.setattr('huggingface_hub.get_token', lambda: None)
    assert 'there is no token' in push('exp_01', 'org/name')[1]
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    code, said = push('exp_01', 'org/name')
    assert code == 2 and 'HF_HUB_OFFLINE is set' in said
    res = started_emb('push', 'exp_01', 'org/name', cwd=run.parents[1], ok=2) # where nothing else has imported the hub's library
    assert res.stderr.startswith('emb: org/name: HF_HUB_OFFLINE is set')
