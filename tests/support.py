"What several test files share: commands, a small lab, and what is looked at in one"
import json, os, subprocess, sys, time
from pathlib import Path
import psutil

root = Path(__file__).resolve().parent.parent
bin = Path(sys.executable).parent
too_fast = 'mtime may not be reliable' # transformers, when checkpoints of a tiny model follow each other within a tick
exp = 'exp_02_in_batch'
whole_run = exp, '-p', 'epochs', 12, '-p', 'lr', .01 # nothing cuts it short; others are compared with it

# commands

def sh(*args, cwd, ok=0, timeout=900, **env):
    "Run a command and return what it did; `ok` is the exit code that is wanted, None for any"
    res = subprocess.run([str(o) for o in args], cwd=cwd, env=os.environ | env, capture_output=True, text=True, timeout=timeout)
    assert ok is None or res.returncode == ok, f"{' '.join(map(str, args))}: exit {res.returncode}\n{res.stdout[-4000:]}\n{res.stderr[-4000:]}"
    return res

def emb(*args, cwd, ok=0, **env): return sh(bin/'emb', *args, cwd=cwd, ok=ok, **env)

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

def made_lab(path, data, base):
    "A lab of one recipe"
    emb('init', path, '--data', data, '--recipe', 'in-batch', cwd=path.parent)
    ini = path/'settings.ini'
    ini.write_text(ini.read_text().replace('model = sentence-transformers/all-MiniLM-L6-v2', f'model = {base}'))
    return path

def files(folder): return sorted(str(o.relative_to(folder)) for o in folder.rglob('*') if o.is_file() and '__pycache__' not in o.parts)
def content(folder): return {o: (folder/o).read_bytes() for o in files(folder)}

# a run

def manifest(run): return json.loads((run/'run.json').read_text())
def whole_run_path(lab): return lab/'results'/f'{exp},epochs=12,lr=0.01'
def write_manifest(run, m): (run/'run.json').write_text(json.dumps(m))
def checkpoints(run): return sorted(int(o.name.split('-')[1]) for o in (run/'checkpoints').glob('checkpoint-*'))

# changes to a lab after which a run is not resumed; each returns what is reported

def change_code(lab):
    p = lab/'inventory'/'train.py'
    p.write_text(p.read_text().replace("warmup_steps=.1", "warmup_steps=.2"))
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
