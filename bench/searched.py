"""What gold scores among its own passages, and among all that the splits hold: untuned MiniLM and BM25 on pairs that `emb split` dealt out

    python bench/searched.py [PAIRS] [--data NAME]

Needs the development data beside the repository."""
import os
from pathlib import Path
from statistics import fmean
from tempfile import mkdtemp
from arguments import parser
from verdicts import data
os.environ |= dict(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='true')

def dealt(name:str, pairs:int)->Path:
    "A folder with the splits of a data set's first pairs, and their corpus"
    from embed_lab.data.files import write_rows
    from embed_lab.data.split import split_rows, write_split
    from embed_lab.data.folder import read_beir
    folder = Path(mkdtemp())
    rows = read_beir(data/name)['train'][:pairs]
    write_rows(folder/'all.jsonl', [dict(query=o['query'], passage=o['passage'], label=1) for o in rows])
    write_split(split_rows(folder/'all.jsonl'), folder/'data')
    return folder/'data'

def scored(task, model)->dict:
    "Mean nDCG@10 of the model and of BM25"
    from embed_lab.data.metrics import per_query
    from embed_lab.inventory.evaluate import search
    from embed_lab.models.bm25 import search_bm25
    def mean(hits): return fmean(o['ndcg@10'] for o in per_query(task.qrels, {q: [d for d,_ in ds] for q,ds in hits.items()}).values())
    return dict(base=mean(search(model, task)), bm25=mean(search_bm25(task)))

def main():
    ask = parser(__doc__)
    ask.add_argument('pairs', nargs='?', type=int, default=1500)
    ask.add_argument('--data', default='nl2bash')
    args = ask.parse_args()
    if not data.is_dir(): return print('no development data beside the repository: nothing measured')
    from embed_lab.data.folder import read_folder
    from embed_lab.data.task import retrieval_task
    from embed_lab.models.base import load_model, minilm
    found, model = read_folder(dealt(args.data, args.pairs)), load_model(minilm)
    for what,corpus in {"gold's own passages": None, 'all passages of the splits': found['corpus']}.items():
        task = retrieval_task(found['gold'], corpus)
        scores = ', '.join(f'{k} {v:.3f}' for k,v in scored(task, model).items())
        print(f'{args.data}, {len(task.queries):,} queries among {len(task.corpus):,} documents, {what}: {scores}', flush=True)

if __name__ == '__main__': main()
