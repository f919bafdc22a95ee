"""One table: each hot path, this project, its peer in the same run, the ratio, and the limit where there is one

    python bench/table.py [PATH]... [--keep]     print it; with --keep also write bench/table.json and bench/TABLE.md
    python bench/table.py [PATH]... --check      measure again, and exit with 1 where a ratio has fallen by more than a fifth since

A ratio says how many times as fast as the peer; above 1 this project is faster. Paired: each round runs both, one after the other."""
import json, os, shutil, statistics, subprocess, sys, tempfile, time
os.environ |= dict(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false')
from pathlib import Path
from random import Random
from arguments import known, parser

here, bin = Path(__file__).resolve().parent, Path(sys.executable).parent
kept, fall = here/'table.json', .2

def wall(f)->float:
    t = time.perf_counter()
    f()
    return time.perf_counter() - t

def run(*cmd, cwd=None): return lambda: subprocess.run([str(o) for o in cmd], cwd=cwd, check=True, capture_output=True)

def paired(ours, peer, rounds:int)->tuple: # Medians of both, and of their ratio
    "Both in turn, after each was run once"
    ours(), peer()
    took = [(wall(ours), wall(peer)) for _ in range(rounds)]
    return *(statistics.median(o) for o in zip(*took)), statistics.median(b/a for a,b in took)

def child(code:str, *args)->float: # Seconds that it prints last
    return float(subprocess.run([sys.executable, '-c', code, *map(str, args)], cwd=here, check=True, capture_output=True, text=True).stdout.split()[-1])

# each path: peer, least ratio that is asked for, and (ours, peer, ratio)

def typer_app(n:int, *args)->list: # Command
    path = Path(tempfile.mkdtemp())/'peer.py'
    path.write_text('import typer\napp = typer.Typer(rich_markup_mode=None)\n' + ''.join(f'@app.command()\ndef command{i}(): "A command."\n' for i in range(n)) + 'app()\n')
    return [sys.executable, path, *args]

def help(home):
    from embed_lab.cli.commands import app
    return '`--help` of an empty Typer app with as many commands', 1/1.3, paired(run(bin/'emb', '--help'), run(*typer_app(len(app.registered_commands), '--help')), 15)

def ls(home):
    from embed_lab.cli.commands import app
    lab = small_lab(home)
    first = next(o.parent for o in lab.glob('results/*/run.json'))
    for i in range(49): shutil.copytree(first, first.with_name(f'{first.name},seed={i}'), ignore=shutil.ignore_patterns('final', 'checkpoints', 'plots'))
    return 'a command of an empty Typer app that does nothing', 1/2, paired(run(bin/'emb', 'ls', cwd=lab), run(*typer_app(len(app.registered_commands), 'command0')), 9)

def small_lab(home)->Path:
    "A lab on a tiny model, with one run"
    from embed_lab.models.base import tiny_model
    from embed_lab.data.files import write_rows
    from embed_lab.data.sample import mine_sample
    rows, lab = mine_sample(), home/'small'
    for k,n in dict(train=600, dev=120, gold=120).items(): write_rows(home/'data'/f'{k}.jsonl', rows[k][:n])
    tiny_model([t for o in rows['train'] for t in (o['query'], o['passage'])]).save_pretrained(str(home/'tiny'))
    run(bin/'emb', 'init', lab, '--data', home/'data', '--recipe', 'in-batch')()
    ini = lab/'settings.ini'
    ini.write_text(ini.read_text().replace('sentence-transformers/all-MiniLM-L6-v2', str(home/'tiny')))
    run(bin/'emb', 'run', 'exp_02_in_batch', cwd=lab)()
    return lab

def reading(home):
    draw, words, path = Random(1), [f'word{i}' for i in range(20_000)], home/'rows.jsonl'
    with path.open('w') as f:
        for i in range(200_000): f.write(json.dumps(dict(query=' '.join(draw.choices(words, k=8)), passage=' '.join(draw.choices(words, k=16)), label=i % 2)) + '\n')
    ours = 'import sys, time\nfrom pathlib import Path\nfrom embed_lab.data.reading import Scan, scan_blocks\nt = time.perf_counter()\nfor o in scan_blocks(Scan(Path(sys.argv[1]))): pass\nprint(time.perf_counter() - t)'
    peer = 'import sys, time, msgspec\nfrom typing import Literal\nclass Row(msgspec.Struct): query: str; passage: str; label: Literal[0, 1]\ndecode = msgspec.json.Decoder(Row).decode\nt = time.perf_counter()\nfor line in open(sys.argv[1], "rb"): decode(line)\nprint(time.perf_counter() - t)'
    return 'msgspec, typed, a line at a time', 1/1.5, timed_inside(ours, peer, 5, path)

def timed_inside(ours, peer, rounds, *args)->tuple:
    "As `paired`, of programs that time themselves"
    took = [(child(ours, *args), child(peer, *args)) for _ in range(rounds)]
    return *(statistics.median(o) for o in zip(*took)), statistics.median(b/a for a,b in took)

def search(home): return searching(10_000, 100_000, 3)
def million(home): return searching(1000, 1_000_000, 3)

def searching(queries, docs, rounds):
    start = f'import sys, time, torch\ng = torch.Generator().manual_seed(0)\nq, d = (torch.nn.functional.normalize(torch.randn(n, 384, generator=g)) for n in ({queries}, {docs}))\n'
    ours = start + 'from embed_lab.models.search import top_k\nt = time.perf_counter()\ntop_k(q, d, k=100)\nprint(time.perf_counter() - t)'
    peer = start + 'room = torch.empty(512, len(d))\nt = time.perf_counter()\nfor i in range(0, len(q), 512): torch.mm(q[i:i+512], d.T, out=room[:len(q[i:i+512])])\nprint(time.perf_counter() - t)'
    return 'the product of the matrices alone', 1/1.5, timed_inside(ours, peer, rounds)

def low()->bool:
    "Whether this machine computes in bf16"
    from embed_lab.models.base import hardware
    return hardware().precision == 'bf16'

def encoding(home):
    texts = mixed(1000)
    from embed_lab.models.base import load_model, minilm
    from embed_lab.models.vectors import encode
    from sentence_transformers import SentenceTransformer
    from embed_lab.models.base import find_model
    ours, peer = load_model(minilm), SentenceTransformer(str(find_model(minilm)), device='cpu', local_files_only=True)
    return '`SentenceTransformer.encode` with defaults', 3 if low() else 1.3, paired(lambda: encode(ours, texts, 'document'), lambda: peer.encode(texts), 2)

def mixed(n:int)->list:
    "Passages of the sample, from one line to some hundred tokens, in a drawn order"
    from embed_lab.data.sample import mine_sample
    texts = [*dict.fromkeys(o['passage'] for o in mine_sample()['train'])]
    return Random(0).sample(texts, min(n, len(texts)))

def cache(home):
    from embed_lab.models.base import load_model, minilm
    from embed_lab.models.vectors import encode_cached
    model, texts = load_model(minilm), mixed(600)
    first, again = (wall(lambda: encode_cached(model, texts, 'document', home/'cache')) for _ in range(2))
    return 'the first run on the same base model', 20, (again, first, first/again)

def training(home, name):
    from training import data
    if not (data/name).exists(): return f'not measured: no {name} in the development data', None, None
    took = {o: json.loads(subprocess.run([sys.executable, here/'training.py', '--one', o, name, '4'], check=True, capture_output=True, text=True).stdout.splitlines()[-1]) for o in ('plain', 'ours')}
    ours, peer = took['ours']['cpu'], took['plain']['cpu']
    return "the script of sentence-transformers' documentation, in CPU seconds", dict(nl2bash=1.7 if low() else 1.2, medquad=3 if low() else 2)[name], (ours, peer, peer/ours)

def short(home): return training(home, 'nl2bash')
def long(home): return training(home, 'medquad')

def sweep(home):
    from warm import exp, made, papermills
    lab, n = made(home), 10
    other = shutil.copytree(lab, home/'other')
    ours = wall(run(bin/'emb', 'sweep', exp, '--seeds', n, '--jobs', 2, cwd=lab))
    peer = sum(wall(run(*o, cwd=other)) for o in papermills(other, n))
    return f'{n} papermill commands', 4, (ours, peer, peer/ours)

def jobs(home):
    from warm import exp, made
    lab = made(home)
    took = [wall(run(bin/'emb', 'sweep', exp, '--seeds', 8, '--jobs', n, cwd=shutil.copytree(lab, home/f'jobs{n}'))) for n in (2, 1)]
    return 'the same, one after another', 1.7, (*took, took[1]/took[0])

paths = dict(help='`emb --help`', ls='`emb ls` with 50 runs', reading='reading and validating 200,000 rows', search='exact top 100, 10,000 queries among 100,000 passages, 384 dimensions', million='exact top 100, 1,000 queries among 1,000,000 passages, 384 dimensions',
    encoding='encoding 1,000 passages of mixed length, MiniLM', cache='encoding 600 passages a second time', short='training MiniLM on short texts (nl2bash, 4 steps of 64)', long='training MiniLM on long texts (medquad, 256 tokens, 4 steps of 64)', sweep='ten static experiments, `emb sweep --jobs 2`', jobs='eight static experiments, `emb sweep --jobs 2`')

def measured(names)->list:
    "Rows of the table, printed as they come"
    rows = []
    for name in names:
        home = Path(tempfile.mkdtemp())
        try: peer, goal, got = globals()[name](home)
        finally: shutil.rmtree(home, ignore_errors=True)
        rows.append(dict(path=name, peer=peer, goal=goal) | (dict(zip(('ours', 'theirs', 'ratio'), got)) if got else dict(ours=None, theirs=None, ratio=None)))
        print(line(rows[-1]), flush=True)
    return rows

def line(o)->str:
    if o['ratio'] is None: return f"| {paths[o['path']]} | {o['peer']} | | | | |"
    goal = '' if o['goal'] is None else f"{o['goal']:.2f}"
    return f"| {paths[o['path']]} | {o['peer']} | {o['ours']:.2f} | {o['theirs']:.2f} | {o['ratio']:.2f} | {goal} |"

head = '| path | beside | ours, s | theirs, s | times as fast | asked for |\n|---|---|---|---|---|---|'

def described()->str:
    from embed_lab.runs.manifest import machine_facts
    from embed_lab.models.base import hardware
    from importlib.metadata import version
    import platform
    m = machine_facts()
    return f"{m['cpu']}, {m['cpus']} CPUs, {hardware()}; Python {platform.python_version()}, " + ', '.join(f'{o} {version(o)}' for o in ('torch', 'transformers', 'sentence-transformers'))

def fallen(old:list, new:list)->list: # Sentences
    "What has become slower than a fifth, beside its peer"
    was = {o['path']: o['ratio'] for o in old}
    return [f"{paths[o['path']]}: {o['ratio']:.2f} times as fast, {was[o['path']]:.2f} when it was kept" for o in new if o['ratio'] and was.get(o['path']) and o['ratio'] < (1 - fall) * was[o['path']]]

def main():
    p = parser(__doc__)
    p.add_argument('path', nargs='*', type=known(paths, 'path'), help=f"of {', '.join(paths)}; all when none is named")
    p.add_argument('--keep', action='store_true')
    p.add_argument('--check', action='store_true')
    args = p.parse_intermixed_args()
    names = args.path or [*paths]
    print(f'{described()}\n\n{head}')
    rows = measured(names)
    if args.check:
        bad = fallen(json.loads(kept.read_text())['rows'], rows)
        for o in bad: print(o, file=sys.stderr)
        raise SystemExit(bool(bad))
    if args.keep:
        old = {o['path']: o for o in json.loads(kept.read_text())['rows']} if kept.exists() else {}
        all_rows = [o for k in paths if (o := ({r['path']: r for r in rows}.get(k) or old.get(k)))]
        kept.write_text(json.dumps(dict(machine=described(), rows=all_rows), indent=1) + '\n')
        (here/'TABLE.md').write_text(f'# What was measured\n\nBy `python bench/table.py --keep`, on {described()}. How many times as fast as the peer in the same run; above 1 this project is faster. `python bench/table.py --check` measures again, and exits with 1 where a ratio has fallen by more than a fifth.\n\n{head}\n' + '\n'.join(map(line, all_rows)) + '\n')

if __name__ == '__main__': main()
