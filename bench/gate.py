"""Forms of one graph beside the float one, MiniLM untuned: first ten kept, nDCG@10, size, speed

    python bench/gate.py [SET]... [--queries N] [--passages N]

Sets are `sample` and those of the development data beside the repository. Speed is in CPU seconds of one thread, in turn."""
import logging, os, time
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
import numpy as np
from arguments import known, parser
from verdicts import data, load
os.environ |= dict(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false')

sets = 'sample', 'nl2bash', 'medquad'

def rows_of(name):
    "(texts of train, task of gold)"
    from embed_lab.data.task import retrieval_task
    if name == 'sample':
        from embed_lab.data.sample import mine_sample
        rows = mine_sample()
        return [o[k] for o in rows['train'][:100] for k in ('passage', 'query')], retrieval_task(rows['gold'])
    splits = load(data/name)
    return [o for k in ('passage', 'query') for o in splits.train[k][:100]], splits.task('gold')

def forms(folder, train):
    "Name → file of a graph"
    from onnxruntime.quantization import quantize_dynamic
    from embed_lab.delivery.onnx import write_encoder, write_graph
    from embed_lab.delivery.precision import write_int8_products, write_int8_weights
    from embed_lab.models.base import load_model, minilm
    model = load_model(minilm)
    write_encoder(model, folder)
    whole = write_graph(model, folder/'whole.onnx')
    yield 'float32', whole
    for name,more in {'quantize_dynamic': {}, 'quantize_dynamic, per_channel': dict(per_channel=True, reduce_range=True)}.items():
        quantize_dynamic(whole, out := folder/f'{len(name)}.onnx', **more)
        yield name, out
    yield 'ours: int8 products', write_int8_products(whole, folder/'products.onnx', folder, train)
    yield 'ours: int8 weights', write_int8_weights(whole, folder/'weights.onnx')

def measured(coder, task, queries, docs, best):
    "What one form comes to, and its first ten"
    from embed_lab.data.metrics import per_query
    began = time.process_time()
    d = coder.encode([task.corpus[o] for o in docs], 'document')
    rate = len(docs) / (time.process_time() - began)
    q = coder.encode([task.queries[o] for o in queries], 'query')
    began = time.process_time()
    for o in queries[:20]: coder.encode([task.queries[o]], 'query')
    alone = (time.process_time() - began) / len(queries[:20]) * 1000
    at = np.argsort(-(q @ d.T), axis=1, kind='stable')[:,:100]
    scores = per_query({o: task.qrels[o] for o in queries}, {o: [docs[i] for i in row] for o,row in zip(queries, at.tolist())})
    kept = 1. if best is None else fmean(len({*a[:10]} & {*b[:10]})/10 for a,b in zip(at.tolist(), best.tolist()))
    return dict(kept=kept, ndcg=fmean(o['ndcg@10'] for o in scores.values()), rate=rate, alone=alone), at

def main():
    p = parser(__doc__)
    p.add_argument('set', nargs='*', type=known(sets, 'data set'))
    p.add_argument('--queries', type=int, default=300)
    p.add_argument('--passages', type=int, default=1500, help='relevant ones first, then others')
    args = p.parse_intermixed_args()
    logging.disable(logging.WARNING)
    from embed_lab.delivery.onnx import OnnxEncoder
    for name in args.set or sets[:2]:
        if name != 'sample' and not (data/name).is_dir():
            print(f'{name} is left out: the development data are not beside the repository')
            continue
        train, task = rows_of(name)
        queries = [q for q,ds in task.relevant.items() if ds][:args.queries]
        docs = list(dict.fromkeys([*(d for q in queries for d in sorted(task.relevant[q])), *task.corpus]))[:args.passages]
        best = first = None
        print(f'{name}: {len(queries):,} queries, {len(docs):,} passages', flush=True)
        with TemporaryDirectory() as d:
            for form,file in forms(Path(d), train):
                got, at = measured(OnnxEncoder(d, file, 1), task, queries, docs, best)
                best, first = (at, got) if best is None else (best, first)
                size = file.stat().st_size/1e6
                print(f"{form:<30} {got['kept']:.3f} of ten kept, nDCG@10 {got['ndcg']:.4f} ({got['ndcg'] - first['ndcg']:+.4f}), {size:6.1f} MB, "
                    f"{got['alone']:.1f} ms a query, {got['rate']:.0f} texts a CPU second ({got['rate']/first['rate']:.2f} times as fast)", flush=True)

if __name__ == '__main__': main()
