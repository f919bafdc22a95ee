"""A corpus's vectors in Qdrant (the client's local mode) and LanceDB: are their first ten ours?

    python bench/stores.py [MODEL] [DOCUMENTS]

It needs `pip install qdrant-client lancedb`, and leaves out with a word what is missing. Documents are nl2bash's where the development data
lie beside the repository, and otherwise passages of the sample. It loads what `emb encode --parquet` writes, by the snippets of
`nbs/delivery/23_vectors`; 200 documents of the corpus are the queries, with three words left out. Ties may come in any order, so a
document counts as ours where its score, computed by us, reaches our tenth."""
import json, random, sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from time import perf_counter
import numpy as np
from embed_lab.data.files import write_rows
from embed_lab.delivery.vectors import read_vectors, write_parquet
from embed_lab.models.base import find_model, load_model
from embed_lab.models.canary import stamp
from embed_lab.models.corpus import encode_corpus
from embed_lab.models.search import top_k
from embed_lab.models.vectors import encode, unit_vectors

data = Path(__file__).resolve().parents[2]/'shared'/'data'/'nl2bash'/'corpus.jsonl'

def passages(n):
    "Texts of documents"
    if data.is_file(): return [json.loads(o)['text'] for o in data.read_text().splitlines()[:n]]
    from embed_lab.data.sample import mine_sample
    return list(dict.fromkeys(o['passage'] for o in mine_sample()['train']))[:n]

def qdrant(stored, queries, home):
    from qdrant_client import QdrantClient, models
    client, name = QdrantClient(path=str(home/'qdrant')), f"corpus_{stored.facts['stamp']}"
    client.create_collection(name, vectors_config=models.VectorParams(size=stored.vectors.shape[1], distance=models.Distance.COSINE))
    client.upload_collection(name, vectors=stored.vectors, payload=[dict(id=o) for o in stored.ids], ids=range(len(stored.ids)))
    yield
    for q in queries: yield [o.payload['id'] for o in client.query_points(name, query=q, limit=10).points]

def lancedb(stored, queries, home):
    import lancedb, pyarrow.parquet as pq
    table = lancedb.connect(str(home/'lance')).create_table('corpus', pq.read_table(home/'vectors'/'vectors.parquet'))
    yield
    for q in queries: yield [o['id'] for o in table.search(q).distance_type('cosine').limit(10).to_list()]

def main(model:str='sentence-transformers/all-MiniLM-L6-v2', docs:int=10_000):
    home, texts, draw = Path(mkdtemp()), passages(docs), random.Random(0)
    write_rows(home/'corpus.jsonl', [dict(_id=f'd{i}', text=o) for i,o in enumerate(texts)])
    folder = find_model(model)
    encoder = load_model(folder)
    encode_corpus(encoder, home/'corpus.jsonl', home/'vectors', stamp=stamp(folder))
    stored = read_vectors(write_parquet(home/'vectors'))
    asked = [' '.join(draw.sample(words := o.split(), max(1, len(words) - 3))) for o in draw.sample(texts, min(200, len(texts)))]
    q, d = unit_vectors(encode(encoder, asked, 'query')), unit_vectors(stored.vectors)
    at, scores = top_k(q, d, 10)
    print(f'{len(texts):,} documents, {d.shape[1]} dimensions, {len(q)} queries, exact search; ours against')
    place = {o: i for i,o in enumerate(stored.ids)}
    for store,module in ((qdrant, 'qdrant_client'), (lancedb, 'lancedb')):
        if find_spec(module) is None: print(f'  {store.__name__:8} left out: pip install {module.replace("_", "-")}'); continue
        began, answers = perf_counter(), store(stored, q, home)
        next(answers)
        loaded, found = perf_counter(), list(answers)
        took = perf_counter() - loaded
        same = np.mean([[d[place[o]] @ q[i] >= scores[i,-1] - 1e-5 for o in ids] for i,ids in enumerate(found)])
        equal = np.mean([ids == [stored.ids[j] for j in at[i]] for i,ids in enumerate(found)])
        print(f'  {store.__name__:8} {same:.1%} of its first ten are ours, {equal:.1%} of the lists in the same order; loaded in {loaded - began:.1f} s, {1000*took/len(q):.1f} ms a query')

if __name__ == '__main__': main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
