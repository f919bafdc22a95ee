"What several test files share: commands, a small lab, and what is looked at in one"
import atexit, json, os, subprocess, sys, time, traceback
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryFile
from threading import Thread
import psutil
from embed_lab.lab import read_lab
from embed_lab.runs.warm import can_fork, forked_process, imports_of

root = Path(__file__).resolve().parent.parent
_imported = ['support', 'ipykernel.debugger', 'nbdev.test', 'papermill', 'plotly.subplots', 'typer._adapters'] # by every fork, were they not there already
bin = Path(sys.executable).parent
too_fast = 'mtime may not be reliable' # transformers, when checkpoints of a tiny model follow each other within a tick
exp = 'exp_02_in_batch'
whole_run = exp, '-p', 'epochs', 12, '-p', 'lr', .01 # nothing cuts it short; others are compared with it

# commands

def sh(*args, cwd, ok=0, timeout=900, **env):
    "Run a command and return what it did; `ok` is the exit code that is wanted, None for any"
    return checked(subprocess.run([str(o) for o in args], cwd=cwd, env=os.environ | env, capture_output=True, text=True, timeout=timeout), ok)

def checked(res, ok):
    "What a command did, if it ended as wanted"
    assert ok is None or res.returncode == ok, f"{' '.join(map(str, res.args))}: exit {res.returncode}\n{res.stdout[-4000:]}\n{res.stderr[-4000:]}"
    return res

def started_emb(*args, cwd, ok=0, **env):
    "`emb` as a terminal starts it, which imports everything, and its kernel again"
    return sh(bin/'emb', *args, cwd=cwd, ok=ok, **env)

def emb(*args, cwd, ok=0, timeout=900, **env):
    "`emb` in a fork of a process that has the imports done, its kernels too; started where imports may depend on `env`"
    if not can_fork() or any(not o.startswith('EMB_') for o in env): return started_emb(*args, cwd=cwd, ok=ok, **env)
    return forked('emb', *args, cwd=cwd, ok=ok, timeout=timeout, **env)

def papermill(*args, cwd, ok=0):
    "papermill in such a fork"
    if not can_fork(): return sh(bin/'papermill', *args, cwd=cwd, ok=ok)
    return forked('papermill', '--engine', 'warm', *args, cwd=cwd, ok=ok)

def forked(*args, cwd, ok=0, timeout=900, **env):
    "Run a command in a fork and return what it did, as `sh` does"
    p = begin(*args, cwd=cwd, **env)
    try: out, err = p.communicate(timeout)
    finally: p.kill()
    return checked(subprocess.CompletedProcess(args, p.returncode, out, err), ok)

def begin(*args, cwd, **env):
    "Begin a command, in a fork where there are forks, as a session that signals can be sent to; has `pid`, `poll`, `kill`, `communicate` and `returncode`"
    args, env = [str(o) for o in args], os.environ | env
    env.pop('PYTEST_CURRENT_TEST', None) # a server forks for those that have the same variables
    if not can_fork(): return subprocess.Popen([bin/args[0], *args[1:]], cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    files = [TemporaryFile('w+') for _ in range(2)]
    with open(os.devnull) as nothing:
        p = forked_process('support:forked_main', args, env, str(cwd), [o.fileno() for o in (nothing, *files)], [*_imported, *_toolkit(), *imports_of(read_lab(root))])
    def communicate(timeout=None):
        p.wait(timeout)
        for o in files: o.seek(0)
        return tuple(o.read() for o in files)
    p.communicate = communicate
    return p

def _toolkit():
    "All modules of the toolkit but the inventory, of which each lab has its own"
    found = [o.relative_to(root).with_suffix('') for o in sorted((root/'embed_lab').rglob('*.py'))]
    return ['.'.join(o.parts) for o in found if o.stem[0] != '_' and o.parts[1] != 'inventory']

def forked_main():
    "The main function of such a fork"
    sys.argv[:] = [str(bin/sys.argv[1]), *sys.argv[2:]]
    os.environ.pop('EMB_KERNEL') # it says of a kernel that it was forked, and this is none
    code = 0
    try: {'emb': run_emb, 'papermill': run_papermill, 'nbdev-test': run_lesson}[Path(sys.argv[0]).name]()
    except SystemExit as e: code = e.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    for o in (sys.stdout, sys.stderr): o.flush()
    os._exit(code) # as `warm` ends its own: taking modules apart is slow after so many imports

def run_emb():
    from embed_lab.cli.commands import app
    from embed_lab.runs import execute
    run = execute._papermill
    execute._papermill = lambda plan, told, warm: run(plan, told, True)
    app()

def run_papermill():
    from papermill.__main__ import papermill
    papermill()

def run_lesson():
    from nbdev.test import nbdev_test
    os.environ.pop('EMB_WARM') # a lesson that forks has a server of its own
    nbdev_test(sys.argv[1], n_workers=0)

# a lab

def small_data(folder:Path)->Path:
    "The head of the sample, enough to train a tiny model in a second"
    from embed_lab.data.files import write_rows
    from embed_lab.data.sample import mine_sample
    rows = mine_sample()
    for k,n in dict(train=600, dev=120, gold=120).items(): write_rows(folder/f'{k}.jsonl', rows[k][:n])
    own = dict.fromkeys(o['passage'] for o in rows['gold'][:120]) # enough of a corpus, and searched in no time
    write_rows(folder/'corpus.jsonl', [dict(_id=f'd{i}', text=o) for i,o in enumerate(own)])
    return folder

def made_lab(path, data, base, recipes=('in-batch',)):
    "A lab of some recipes; of those that every lab begins with where none is named"
    emb('init', path, '--data', data, *(o for r in recipes for o in ('--recipe', r)), cwd=path.parent)
    ini = path/'settings.ini'
    ini.write_text(ini.read_text().replace('model = sentence-transformers/all-MiniLM-L6-v2', f'model = {base}'))
    return path

def keep_checkpoints(lab):
    "Have the runs of a lab keep what they would resume from, so that tests can cut them short afterwards"
    with open(lab/'settings.ini', 'a') as f: f.write('keep_checkpoints = yes\n')
    return lab

def files(folder): return sorted(str(o.relative_to(folder)) for o in folder.rglob('*') if o.is_file() and '__pycache__' not in o.parts)
def content(folder): return {o: (folder/o).read_bytes() for o in files(folder)}

# a run

def manifest(run): return json.loads((run/'run.json').read_text())
def whole_run_path(lab): return lab/'results'/f'{exp},epochs=12,lr=0.01'
def write_manifest(run, m): (run/'run.json').write_text(json.dumps(m))
def checkpoints(run): return sorted(int(o.name.split('-')[1]) for o in (run/'checkpoints').glob('checkpoint-*'))

# changes to a lab after which a run is not resumed; each returns what is reported

def change_code(lab):
    for p in (lab/'nbs'/'02_train.ipynb', lab/'inventory'/'train.py'): p.write_text(p.read_text().replace("warmup_steps=.1", "warmup_steps=.2"))
    return 'inventory/train.py has changed'

def change_cell(lab):
    nb = lab/'experiments'/f'{exp}.ipynb'
    nb.write_text(nb.read_text().replace("loss='in-batch'", "loss='contrastive'"))
    return 'the notebook has changed'

# waiting

def wait_for(f, seconds=120):
    "What `f` returns as soon as it is true"
    end = time.time() + seconds
    while not (res := f()):
        assert time.time() < end, f'nothing after {seconds} seconds'
        time.sleep(.1)
    return res

def gone(pid):
    "Wait until a process is gone"
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE: return
        time.sleep(.1)
    raise AssertionError(pid)

# servers

@contextmanager
def serving(answer, models=None):
    "A server on this machine; `answer` takes path, body and headers, and gives status, text or JSON, and perhaps headers"
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self): self.reply(*answer(self.path, json.loads(self.rfile.read(int(self.headers['Content-Length']))), self.headers))
        def do_GET(self): self.reply(*((200, models) if models else (404, '')))
        def reply(self, status, said, head=None):
            self.send_response(status)
            for o in (head or {}).items(): self.send_header(*o)
            self.end_headers()
            self.wfile.write((said if isinstance(said, str) else json.dumps(said)).encode())
        def handle(self):
            try: super().handle()
            except OSError: pass # a client that has given up
        def log_message(self, *args): pass
    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        Thread(target=server.serve_forever, args=(.01,), daemon=True).start()
        try: yield f'http://127.0.0.1:{server.server_port}'
        finally: server.shutdown()
