"How often `verdict` is wrong over seeds of one recipe, and how often it finds a planted gain"
import os, shutil, sys, tempfile, time
os.environ |= dict(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false')
from itertools import cycle
from pathlib import Path
import numpy as np

data = Path(__file__).resolve().parents[2]/'shared'/'data'
recipes = dict(nl2bash=dict(lr=.01, batch_size=64), banking77=dict(lr=.01, batch_size=32), xquad_en_row_split=dict(lr=.01, batch_size=32, epochs=2))

def base_model(home:Path)->Path:
    "MiniLM's vocabulary and word vectors as a static model: no transformer, so a seed takes seconds"
    from embed_lab.models.base import load_model, minilm
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    model = load_model(minilm)
    tok, vecs = model.tokenizer.backend_tokenizer, model.transformers_model.get_input_embeddings().weight
    tok.no_truncation(), tok.no_padding()
    SentenceTransformer(modules=[StaticEmbedding(tok, vecs.detach().float().cpu().numpy())], device='cpu').save_pretrained(str(home/'base'))
    return home/'base'

def chosen_base(home:Path, model:str)->str: # What `find_model` takes
    "The base of labs in a folder that is made where it is missing: 'minilm', or the static model, which is kept there"
    from embed_lab.models.base import minilm
    home.mkdir(parents=True, exist_ok=True)
    return minilm if model == 'minilm' else str(home/'base' if (home/'base').exists() else base_model(home))

def load(path:Path): # Splits
    from embed_lab.inventory.datasets import Splits, load_splits, to_dataset
    from embed_lab.data.folder import read_beir, read_corpus
    from embed_lab.data.task import is_beir
    if not is_beir(path): return load_splits(path)
    return Splits(**{k: to_dataset(v) for k,v in read_beir(path).items()}, corpus=read_corpus(path/'corpus.jsonl'))

def one_seed(splits, base:Path, seed:int, recipe:dict)->np.ndarray: # nDCG@10, one a gold query
    "Train with `seed`, and score every gold query"
    from embed_lab.inventory.evaluate import search
    from embed_lab.inventory.train import train
    from embed_lab.data.metrics import per_query
    from embed_lab.runs.record import rehearsal
    run, task = rehearsal(base, seed=seed), splits.task('gold')
    hits = search(train(splits, run, loss='in-batch', evals=1, **recipe).encoder, task)
    shutil.rmtree(run.lab.path)
    scores = per_query(task.qrels, {q: [d for d,_ in ds] for q,ds in hits.items()})
    return np.array([scores[q]['ndcg@10'] for q in sorted(scores)])

def all_seeds(name:str, home:Path, seeds:int)->np.ndarray: # (seeds, queries)
    "Scores of every seed of one recipe, from the cache where they are there"
    files, splits = [home/f'{name}_seed{i}.npz' for i in range(seeds)], None
    for i,o in enumerate(files):
        if o.exists(): continue
        if splits is None:
            import torch
            torch.set_num_threads(1)
            splits, base = load(data/name), base_model(home)
        part = o.with_suffix('.part.npz')
        np.savez_compressed(part, ndcg=one_seed(splits, base, i, recipes[name]))
        part.rename(o)
        print(f'{name}: trained seed {i}', file=sys.stderr, flush=True)
    return np.array([np.load(o)['ndcg'] for o in files])

def planted(scores:np.ndarray, gain:float, lost:float, rng)->np.ndarray: # (seeds, queries)
    "A better recipe: random queries move to a better rank in every seed, others to a worse one for a share `lost` of the gain, and the mean rises by `gain`"
    ladder, out = np.append(0, 1/np.log2(np.arange(11, 1, -1))), scores.copy()
    def moved(now, up): # Each seed draws its own new rank among the better, or the worse
        ways = [ladder[ladder > o + 1e-9] if up else ladder[ladder < o - 1e-9] for o in now]
        return np.array([rng.choice(w) if len(w) else o for w,o in zip(ways, now)])
    for up,goal in ((True, gain*(1 + lost)), (False, gain*lost)):
        order, got = cycle(rng.permutation(scores.shape[1])), 0 # near the ceiling some queries have to rise twice
        while got < goal:
            new = moved(out[:,(q := next(order))], up)
            got, out[:,q] = got + abs(new.mean() - out[:,q].mean())/len(out[0]), new
    return out

def draws(ours:np.ndarray, theirs:np.ndarray, k:int, rng, times:int=200, queries:int|None=None, lend:bool=False)->list: # Verdicts
    "k random seeds of ours against k other seeds of theirs, on all or on some random queries; the seeds left over may lend their noise"
    from embed_lab.evaluation.verdict import seed_noise, verdict
    res, (seeds, n) = [], ours.shape
    for _ in range(times):
        ids, qs = rng.permutation(seeds), rng.choice(n, min(n, queries or n), replace=False)
        noise = seed_noise([theirs[np.ix_(ids[2*k:], qs)]]) if lend else None
        res.append(verdict(ours[np.ix_(ids[:k], qs)], theirs[np.ix_(ids[k:2*k], qs)], noise=noise))
    return res

def by_queries(scores:np.ndarray, k:int, rng, times:int=200)->float:
    "How often a paired t-test over queries alone calls two draws of one recipe different"
    from embed_lab.evaluation.verdict import t_quantile
    def one():
        ids = rng.permutation(len(scores))[:2*k]
        d = scores[ids[:k]].mean(0) - scores[ids[k:]].mean(0)
        return abs(d.mean()) > t_quantile(.95, len(d) - 1) * d.std(ddof=1)/len(d)**.5
    return np.mean([one() for _ in range(times)])

def report(name:str, scores:np.ndarray, rng):
    from embed_lab.evaluation.verdict import variance_components
    seeds, n = scores.shape
    luck, cell = variance_components(scores)
    def share(vs, *words): return np.mean([o.word in words for o in vs])
    print(f"{name}: seeds 0 to {seeds-1}, {n:,} queries, nDCG@10 {scores.mean():.4f}, standard deviation of a seed's mean {scores.mean(1).std(ddof=1):.4f}, of which what a seed does to single queries makes {(cell/n)**.5:.4f}")
    same, single, lent = draws(scores, scores, 3, rng), draws(scores, scores, 1, rng), draws(scores, scores, 3, rng, lend=True)
    print(f"  3 v 3, same recipe: called {share(same, 'win', 'loss'):.1%} (goal: at most 5 %); by queries alone {by_queries(scores, 3, rng):.1%}; with noise lent by the other {seeds-6} seeds {share(lent, 'win', 'loss'):.1%}")
    print(f"  1 v 1, same recipe: called {share(single, 'win', 'loss'):.1%}, without warning {np.mean([not o.warning for o in single]):.1%}; by queries alone {by_queries(scores, 1, rng):.1%}")
    for gain,lost in ((.03, 0), (.03, 1/3), (.01, 0)):
        found, lent, real = [], [], []
        for _ in range(20): # another set of changed queries for every ten draws
            better = planted(scores, gain, lost, rng)
            real.append(better.mean() - scores.mean())
            found += draws(better, scores, 3, rng, 10, 300)
            lent += draws(better, scores, 3, rng, 10, 300, lend=True)
        effects = np.array([o.effect for o in found])
        print(f"  3 v 3, planted {np.mean(real):+.3f}{', a quarter of the rise lost again elsewhere' if lost else ''}, 300 queries: win {share(found, 'win'):.1%}{' (goal: at least 80 %)' if gain == .03 and not lost else ''}, loss {share(found, 'loss'):.1%}; "
            f"with lent noise {share(lent, 'win'):.1%}; if the true spread were known {np.mean(effects > 1.96*effects.std()):.1%}; could have shown {np.median([o.detectable for o in found]):.3f} (median)")

def main(folder:str='', seeds:str='20'):
    if gone := [o for o in recipes if not (data/o).is_dir()]: sys.exit(f"no data: {data.parent.name}/data/{gone[0]} is not beside the repository; this benchmark needs {', '.join(recipes)} there")
    home, rng = Path(folder or tempfile.mkdtemp()), np.random.default_rng(0)
    home.mkdir(parents=True, exist_ok=True)
    scores = {o: all_seeds(o, home, int(seeds)) for o in recipes}
    print(f"Draws of one data set share its {seeds} seeds, so the 200 of each line are far fewer independent trials. Draws come from generator seed 0.")
    for k,v in scores.items(): report(k, v, rng)
    from embed_lab.evaluation.verdict import verdict
    ten, start = np.random.default_rng(1).random((10, 3, 1_000)), time.perf_counter()
    for i in range(10):
        for j in range(i): verdict(ten[i], ten[j])
    print(f"ten recipes of three seeds and 1,000 queries, all 45 pairs: {time.perf_counter() - start:.2f} s")

if __name__ == '__main__': main(*sys.argv[1:])
