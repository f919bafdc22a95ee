"""Encoding passages of mixed length beside `SentenceTransformer.encode` with defaults, MiniLM, and what that changes on gold

    python bench/encoding.py [PASSAGES] [--rounds N] [--gold DATA]... [--no-gold]

Each arm is a process of its own, in turn; loading is not counted. Needs the development data beside the repository."""
import json, os, subprocess, sys, time
from random import Random
from statistics import fmean, median
from arguments import known, parser
from verdicts import data, load
os.environ |= dict(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='true') # As it is where nobody sets it: nothing is forked here

sets = 'nl2bash', 'medquad'
arms = {'encode with defaults': 'cpu fp32', 'ours, fp32': 'cpu fp32', 'ours, bf16': 'cpu bf16'}

def mixed(n:int)->list:
    "Passages, half of them long (medquad), a quarter commands and a quarter glosses, in a drawn order"
    from embed_lab.data.folder import read_corpus
    draw, res = Random(0), []
    for name,part in dict(medquad=2, nl2bash=4, oewn=4).items(): res += draw.sample([*dict.fromkeys(read_corpus(data/name/'corpus.jsonl').values())], n//part)
    return draw.sample(res, len(res))

def encoder(arm):
    "A function from texts and their kind to vectors"
    from embed_lab.models.base import find_model, load_model, minilm
    from embed_lab.models.vectors import encode
    from sentence_transformers import SentenceTransformer
    if arm.startswith('ours'):
        model = load_model(minilm)
        return lambda texts, kind: encode(model, texts, kind)
    model = SentenceTransformer(str(find_model(minilm)), device='cpu', local_files_only=True)
    return lambda texts, kind: model.encode(texts)

def timed(arm, n):
    texts, make = mixed(int(n)), encoder(arm)
    make(texts[:64], 'document')
    wall, cpu = time.perf_counter(), time.process_time()
    make(texts, 'document')
    return dict(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu)

def judged(arm, name):
    "Mean nDCG@10 on gold, untuned"
    from embed_lab.data.metrics import per_query
    from embed_lab.models.search import top_k
    from embed_lab.models.vectors import unit_vectors
    task, make = load(data/name).task('gold'), encoder(arm)
    queries, docs = [q for q,ds in task.relevant.items() if ds], list(task.corpus)
    at, _ = top_k(unit_vectors(make([task.queries[q] for q in queries], 'query')), unit_vectors(make(list(task.corpus.values()), 'document')), k=100)
    scores = per_query(task.qrels, {q: [docs[i] for i in row] for q,row in zip(queries, at.tolist())})
    return dict(ndcg=fmean(o['ndcg@10'] for o in scores.values()), queries=len(scores), documents=len(docs))

def one(what, arm, arg):
    if not arm.startswith('ours'): import torch # before embed_lab, which settles how its threads wait
    print(json.dumps(dict(timed=timed, judged=judged)[what](arm, arg)))

def child(what, arm, arg):
    res = subprocess.run([sys.executable, __file__, '--one', what, arm, str(arg)], env=os.environ | dict(EMB_HARDWARE=arms[arm]), capture_output=True, text=True, check=True)
    return json.loads(res.stdout.splitlines()[-1])

def main():
    p = parser(__doc__)
    p.add_argument('passages', nargs='?', type=int, default=10_000)
    p.add_argument('--rounds', type=int, default=1)
    p.add_argument('--gold', action='append', type=known(sets, 'data set'), help=f"repeatable, of {', '.join(sets)}; all when none is named")
    p.add_argument('--no-gold', action='store_true', help='time alone')
    args = p.parse_intermixed_args()
    n = args.passages
    from embed_lab.models.base import hardware
    print(f'this machine: {hardware()}', flush=True)
    took = {o: [] for o in arms}
    for _ in range(args.rounds):
        for arm in arms: took[arm].append(child('timed', arm, n))
    peer = next(iter(took))
    for arm,got in took.items():
        ratios = [median(b[k]/a[k] for a,b in zip(got, took[peer])) for k in ('wall', 'cpu')]
        print(f"{arm:<21} {median(o['wall'] for o in got):7.1f} s, {median(o['cpu'] for o in got):7.1f} CPU s; {ratios[0]:.2f} times as fast, {ratios[1]:.2f} in CPU seconds", flush=True)
    for name in () if args.no_gold else args.gold or sets:
        got = {o: child('judged', o, name) for o in arms}
        first = got[peer]
        print(f"{name}, {first['queries']:,} queries, {first['documents']:,} documents: nDCG@10 " + ', '.join(f"{o['ndcg']:.4f} {arm}" + ('' if arm == peer else f" ({o['ndcg'] - first['ndcg']:+.4f})") for arm,o in got.items()), flush=True)

if __name__ == '__main__': one(*sys.argv[2:]) if sys.argv[1:2] == ['--one'] else main()
