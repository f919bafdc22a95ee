"""A full fine-tune, its merge with the base, and a query adapter on the untouched base: gold, guard and seeds, by `emb compare`

    python bench/remedies.py FOLDER [DATA]... [--pairs N] [--gold N] [--documents N] [--seeds N] [--steps N] [--model minilm|static]

`static` is a table of MiniLM's word vectors, which a busy machine tunes in seconds. The guard of each data set is the gold of another one, which tuning for this one may forget. Finished runs are left as they are."""
import json, sys, time
from pathlib import Path
from random import Random
from arguments import known, parser
from recipes import settings
from support import emb
from verdicts import chosen_base, data

guards = dict(nl2bash='medquad', medquad='nl2bash')
arms = {'full fine-tune': 'exp_02_in_batch', 'merged with base': 'exp_12_merge', 'query adapter': 'exp_11_query_adapter'}

def rows(path:Path)->list: return [json.loads(o) for o in path.read_text().splitlines()]
def write(path:Path, some:list): path.write_text(''.join(json.dumps(o) + '\n' for o in some))
def drawn(some:list, n:int)->list: return [some[i] for i in sorted(Random(0).sample(range(len(some)), min(n, len(some))))]

def make(home:Path, name:str, args, base:str)->Path: # The lab
    "A lab with part of a data set, searched among gold's passages and some others, and another set's gold as its guard"
    labs = {o: home/o for o in (name, guards[name])}
    for o,lab in labs.items():
        if lab.exists(): continue
        emb('init', lab, '--data', data/o, *(w for r in ('in-batch', 'query-adapter', 'merge') for w in ('--recipe', r)), cwd=home)
        ini = lab/'settings.ini'
        ini.write_text(ini.read_text().replace('sentence-transformers/all-MiniLM-L6-v2', base))
    folder = labs[name]/'data'
    if (folder/'guard.jsonl').exists(): return labs[name]
    other = labs[guards[name]]/'data'
    guard = drawn(rows(other.parent/'whole.jsonl' if (other.parent/'whole.jsonl').exists() else other/'gold.jsonl'), args.gold//2)
    write(folder.parent/'whole.jsonl', rows(folder/'gold.jsonl'))
    for k,n in dict(train=args.pairs, dev=args.gold//2, gold=args.gold).items(): write(folder/f'{k}.jsonl', drawn(rows(folder/f'{k}.jsonl'), n))
    wanted = {o['passage'] for o in rows(folder/'gold.jsonl')}
    docs = rows(folder/'corpus.jsonl')
    write(folder/'corpus.jsonl', [o for o in docs if o['text'] in wanted] + drawn([o for o in docs if o['text'] not in wanted], args.documents))
    (folder/'qrels.tsv').unlink()
    write(folder/'guard.jsonl', [dict(query=o['query'], passage=o['passage'], label=1) for o in guard])
    return labs[name]

def timed(lab:Path, *words):
    start = time.time()
    res = emb(*words, cwd=lab, ok=None, timeout=7200)
    print(f"{lab.name}: emb {' '.join(map(str, words))}: {time.time()-start:.0f} s", *res.stderr.strip().splitlines()[-1:]*bool(res.returncode), file=sys.stderr, flush=True)

def run_all(lab:Path, args):
    tuning = [o for k,v in settings[args.model].items() for o in ('-p', k, args.length if k == 'max_length' else v)]
    for seed in range(1, args.seeds + 1):
        timed(lab, 'run', arms['query adapter'], '-p', 'max_length', args.length, '-p', 'seed', seed)
        timed(lab, 'run', arms['full fine-tune'], *tuning, '-p', 'seed', seed)
        tuned = next(o.parent.name for o in (lab/'results').glob(f'exp_02_in_batch,*seed={seed}/run.json'))
        timed(lab, 'merge', tuned, '-p', 'steps', args.steps)

def change(o)->str: return f"{o['effect']:+.3f} [{o['low']:+.3f}, {o['high']:+.3f}]" if o else ''

def report(lab:Path, args):
    "Each arm beside the untuned base model: gold, its gain, and what it does to the guard"
    got = {k: json.loads(emb('compare', f'{exp},*', '--json', cwd=lab, ok=None).stdout) for k,exp in arms.items() if any((lab/'results').glob(f'{exp},*/final'))}
    first = next(iter(got.values()))
    print(f"\n{lab.name}: {args.pairs:,} pairs, {first['queries']:,} gold queries among {first['documents']:,} documents, guard {guards[lab.name]}\n")
    print('| | gold nDCG@10 | over base, over queries and seeds | guard over base | seeds |\n|---|---|---|---|---|')
    def score(o): return '{mean:.3f} [{low:.3f}, {high:.3f}]'.format(**o['scores']['ndcg@10'])
    for o in first['others']:
        if o['name'] in ('base, untuned', 'BM25'): print(f"| {o['name']} | {score(o)} | | | |")
    for k,o in got.items(): print(f"| {k} | {score(o['recipes'][0])} | {change(o['pairs'][0]['verdict'])} | {change(o['pairs'][0]['guard'])} | {len(o['recipes'][0]['runs'])} |")
    shares = [json.loads(o.read_text())['stages']['merge']['share'] for o in sorted((lab/'results').glob('exp_12_merge,*/run.json'))]
    print('\nshares chosen by dev and guard:', ', '.join(f'{o:g}' for o in shares))

def arguments(words:list|None=None):
    p = parser(__doc__)
    p.add_argument('folder', type=Path, help='where the labs are made; what is there already is left')
    p.add_argument('data', nargs='*', type=known(guards, 'data set'), help=f"of {', '.join(guards)}; all when none is named")
    p.add_argument('--pairs', type=int, default=512, help='of train')
    p.add_argument('--gold', type=int, default=200, help='queries of gold; half as many of dev and of guard')
    p.add_argument('--documents', type=int, default=400, help="besides gold's own")
    p.add_argument('--seeds', type=int, default=3)
    p.add_argument('--steps', type=int, default=5, help='from base to tuned, in a merge')
    p.add_argument('--length', type=int, default=64, help='tokens read of a text')
    p.add_argument('--model', choices=settings, default='minilm')
    args = p.parse_intermixed_args(words)
    args.data = args.data or [*guards]
    return args

def main():
    args = arguments()
    home = args.folder.resolve()
    base = chosen_base(home, args.model)
    for name in args.data:
        if not all((data/o).exists() for o in (name, guards[name])): print(f'{name}: no development data beside the repository'); continue
        lab = make(home, name, args, base)
        run_all(lab, args)
        report(lab, args)

if __name__ == '__main__': main()
