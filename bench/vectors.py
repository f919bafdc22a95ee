"""Reading kept vectors beside encoding them: MiniLM on some hundred passages, a tiny static model on 100,000 texts

    python bench/vectors.py [PASSAGES] [TEXTS]"""
import os, sys, tempfile
os.environ |= dict(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false')
from pathlib import Path
from time import perf_counter, process_time
import numpy as np
from embed_lab.models.base import load_model, minilm, tiny_model
from embed_lab.data.sample import mine_sample
from embed_lab.models.vectors import encode, encode_cached, fingerprint

def timed(f):
    "What `f` returns, wall and CPU seconds"
    wall, cpu = perf_counter(), process_time()
    return f(), perf_counter() - wall, process_time() - cpu

def compare(name, model, texts):
    "Encode, encode and keep, read; returns seconds a text of encoding and of reading"
    with tempfile.TemporaryDirectory() as home:
        n, _ = len(texts), encode(model, texts[:64], 'document')
        _, key, key_cpu = timed(lambda: fingerprint(model, 'document'))
        plain, a, a_cpu = timed(lambda: encode(model, texts, 'document'))
        first, b, b_cpu = timed(lambda: encode_cached(model, texts, 'document', home))
        again, c, c_cpu = timed(lambda: encode_cached(model, texts, 'document', home))
        assert (first == again).all()
        size = sum(o.stat().st_size for o in Path(home).iterdir())
        print(f'{name}, {n:,} texts, {plain.shape[1]} dimensions, {size/2**20:,.1f} MiB kept; the key takes {key:.3f} s ({key_cpu:.3f} s of CPU)')
        print(f'  encoding {a:.2f} s, encoding and keeping {b:.2f} s ({b/a:.2f}), reading {c:.3f} s, {n/c:,.0f} texts/s')
        print(f'  reading takes 1/{a/c:,.0f} of the time of encoding, of CPU time 1/{a_cpu/c_cpu:,.0f}')
        half = encode_cached(model, texts[1::2], 'document')
        print(f'  encoded in other batches, a component differs by {np.abs(half - plain[1::2]).max():.1e} at most')
        return a/n, c/n

def main(passages:int=400, texts:int=100_000):
    rows = [o['passage'] for o in mine_sample()['train']]
    distinct = list(dict.fromkeys(rows))
    slow, _ = compare('MiniLM', load_model(minilm, max_seq_length=128), distinct[:passages])
    _, quick = compare('tiny static model', tiny_model(distinct, dim=384), [f'{distinct[i % len(distinct)][:200]} {i}' for i in range(texts)])
    print(f'MiniLM takes {slow/quick:,.0f} times as long to encode a text as one of {texts:,} takes to be read')

main(*map(int, sys.argv[1:]))
