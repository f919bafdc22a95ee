"How long `emb ls` of 2,000 runs and `emb compare` of long ones take, how much memory they need, and how large the report is"
import argparse, json, statistics, subprocess, sys, tempfile, time
from pathlib import Path
import msgspec, numpy as np

bin = Path(sys.executable).parent
words = 'router cable light update account invoice error screen battery sound network cloud password driver setting backup'.split()

def text(rng, n): return ' '.join(rng.choice(words, n)).capitalize() + '.'

def make_lab(home:Path, queries:int):
    "A lab with a corpus, its queries, and the lines of one run: systems that are the same in all runs are encoded once"
    from embed_lab.data.files import write_rows
    from embed_lab.data.metrics import measures
    from embed_lab.data.task import text_hash
    from embed_lab.lab import read_lab
    rng = np.random.default_rng(0)
    home.mkdir(parents=True)
    (home/'settings.ini').write_text('[DEFAULT]\n')
    docs = {f'd{i}': f'{i}: {text(rng, 60)}' for i in range(2 * queries)}
    asked = {f'q{i}': f'{i}: {text(rng, 9)}' for i in range(queries)}
    write_rows(home/'data'/'corpus.jsonl', [dict(_id=k, text=v) for k,v in docs.items()])
    write_rows(home/'data'/'gold.jsonl', [dict(query=v, passage=docs[f'd{i}'], label=1) for i,v in enumerate(asked.values())])
    hashes = {k: text_hash(v) for k,v in docs.items()}
    def system(i):
        found = [f'd{i}', *(f'd{o}' for o in rng.integers(len(docs), size=9) if o != i)]
        rng.shuffle(found)
        hits = [dict(id=d, score=.9 - r/100, grade=1 if d == f'd{i}' else None, text=hashes[d]) for r,d in enumerate(found)]
        score = 1/(1 + found.index(f'd{i}'))
        return msgspec.Raw(msgspec.json.encode(dict(scores={m: score for m in measures}, hits=hits)))
    def line(i, q): return dict(query_id=q, query=asked[q], tags=['short']) | {s: system(i) for s in ('base', 'bm25', 'fused', 'oracle')}
    return read_lab(home), [line(i, q) for i,q in enumerate(asked)], lambda: [system(i) for i in range(queries)]

def record_files(run:Path):
    "Have a made-up run remember its files, as those that completed do"
    from embed_lab.data.files import write_json
    from embed_lab.runs.results import result_facts
    write_json(run/'run.json', json.loads((run/'run.json').read_text()) | result_facts(run))

def make_runs(lab, lines, tuned, recipes:int, seeds:int):
    "Runs with scores and top tens; one tuned system a recipe, of which each seed moves a tenth of the queries to another place"
    from embed_lab.data.files import jsonl_bytes
    from embed_lab.evaluation.comparable import mock_run
    rng = np.random.default_rng(1)
    for r in range(recipes):
        own, other = tuned(), tuned()
        for s in range(seeds):
            moved = rng.random(len(lines)) < .1
            rows = ({**o, 'tuned': b if m else a} for o,a,b,m in zip(lines, own, other, moved))
            run = mock_run(lab, f'exp_01,lr={r},seed={s}', {}, s, lr=r)
            (run/'eval'/'per_query.jsonl').write_bytes(jsonl_bytes(rows))
            (run/'history.jsonl').write_bytes(jsonl_bytes(dict(step=i, loss=1/i, dev=.5) for i in range(1, 51)))
            record_files(run)

def make_list(lab, n:int):
    "Runs as `emb ls` sees them: a manifest with all that it shows, a notebook, a model's file and scores"
    from embed_lab.data.files import write_json
    from embed_lab.evaluation.comparable import mock_run
    from embed_lab.runs.results import result_facts
    first = mock_run(lab, 'first', {'tuned': [.5, .6], 'base': [.4, .5]})
    run = json.loads((first/'run.json').read_text())
    score = dict(mean=.5, low=.4, high=.6)
    run |= dict(documents=1000, headline=dict(tuned=score, base=score, bm25=score, gain=score), used=dict(memory=10**9, disk=10**8),
        warnings=['one that is long ' * 8] * 3)
    for i in range(n):
        path = lab.results/f'exp_01_baseline,lr={i}'
        for o in ('final', 'eval'): (path/o).mkdir(parents=True)
        (path/'final'/'model.safetensors').write_bytes(b'\2' + bytes(7) + b'{}') # a header, and no weights
        for o in ('eval/gold_metrics.json', 'eval/per_query.jsonl', 'exp_01_baseline.ipynb'): (path/o).write_text('{}')
        write_json(path/'run.json', run | result_facts(path, 'exp_01_baseline.ipynb') | dict(overrides=dict(lr=i)))

def measured(words:list, cwd:Path, rounds:int)->tuple:
    "Median and best of wall and CPU seconds, and the largest process in MB, of a command"
    code = ('import resource,subprocess,sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); '
        'u = resource.getrusage(resource.RUSAGE_CHILDREN); print(u.ru_maxrss, u.ru_utime + u.ru_stime)')
    wall, cpu, most = [], [], 0
    for _ in range(rounds):
        t = time.perf_counter()
        res = subprocess.run([sys.executable, '-c', code, bin/'emb', *words], cwd=cwd, check=True, stdout=subprocess.PIPE, text=True)
        wall.append(time.perf_counter() - t)
        memory, seconds = map(float, res.stdout.split())
        cpu.append(seconds)
        most = max(most, memory / 1024)
    return statistics.median(wall), min(wall), statistics.median(cpu), min(cpu), most

def say(name, words, cwd, rounds):
    wall, best, cpu, least, memory = measured(words, cwd, rounds)
    print(f'{name}: {wall:.2f} s (best of {rounds} {best:.2f}), {cpu:.2f} s of CPU (best {least:.2f}), {memory:,.0f} MB', flush=True)

def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('folder', nargs='?', type=Path, help='where the labs are; those that exist are used again, so that two checkouts are measured on the same')
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--only', choices=('ls', 'compare', 'report'), help='one of the three')
    a = p.parse_args()
    home = a.folder or Path(tempfile.mkdtemp())
    wanted = [a.only] if a.only else ['ls', 'compare', 'report']
    if 'ls' in wanted:
        if not (home/'ls').exists(): make_list(make_lab(home/'ls', 2)[0], 2000)
        say('emb ls of 2,000 runs', ['ls'], home/'ls', a.rounds)
    if 'compare' in wanted:
        if not (home/'compare').exists(): make_runs(*make_lab(home/'compare', 3000), 6, 10)
        say('emb compare of 60 runs, six recipes of ten seeds, 3,000 queries', ['compare', 'exp_01*'], home/'compare', a.rounds)
    if 'report' in wanted:
        if not (home/'report').exists(): make_runs(*make_lab(home/'report', 10_000), 2, 2)
        page = home/'page.html'
        say('emb compare --report of 4 runs, 10,000 queries', ['compare', 'exp_01*', '--report', page], home/'report', a.rounds)
        print(f'its page {page.stat().st_size/1e6:.1f} MB, its notebook {page.with_suffix(".ipynb").stat().st_size/1e6:.1f} MB')

if __name__ == '__main__': main()
