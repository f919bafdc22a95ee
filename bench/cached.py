"""Peak memory of cached in-batch training at batch 1,024 beside plain in-batch training at 64

    python bench/cached.py [BATCH] [MINI_BATCH] [STEPS]"""
import os, subprocess, sys
os.environ |= dict(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false')
from time import perf_counter

def one(loss:str, batch:int, mini:int, steps:int):
    "Train MiniLM for some steps; print the memory that training added, the peak, and seconds a pair"
    import resource, shutil
    from datasets import disable_progress_bars
    from embed_lab.inventory.datasets import Splits, to_dataset
    from embed_lab.inventory.train import train
    from embed_lab.training.weights import base_model
    from embed_lab.models.base import find_model, minilm
    from embed_lab.runs.record import rehearsal
    from embed_lab.data.sample import mine_sample
    disable_progress_bars()
    rows, run = [o for o in mine_sample()['train'] if o['label']], rehearsal(find_model(minilm))
    while len(rows) < steps*batch: rows = rows + [o | dict(query=f"{o['query']} {len(rows)}", passage=f"{o['passage']} # {len(rows)}") for o in rows]
    splits, model = Splits(to_dataset(rows[:steps*batch]), *(to_dataset(rows[:8]) for _ in range(2))), base_model(run, 128)
    def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    before, t = peak(), perf_counter()
    train(splits, run, loss=loss, batch_size=batch, lr=1e-5, evals=1, model=model, **(dict(mini_batch_size=mini) if mini else {}))
    print(peak(), peak() - before, (perf_counter() - t) / (steps*batch))
    shutil.rmtree(run.lab.path)

def main(batch=1024, mini=64, steps=2):
    ways = {'in-batch 64': ('in-batch', 64, 0, max(2, steps*batch//64 // 4)), f'cached {batch:,} by {mini}': ('cached-in-batch', batch, mini, steps)}
    got = {}
    for k,o in ways.items():
        got[k] = [float(x) for x in subprocess.run([sys.executable, __file__, 'one', *map(str, o)], check=True, capture_output=True, text=True).stdout.split()[-3:]]
        print(f'{k}: peak {got[k][0]:,.0f} MiB, of which training {got[k][1]:,.0f} MiB; {got[k][2]*1000:.0f} ms a pair', flush=True)
    a, b = got.values()
    print(f'ratio of peaks {b[0]/a[0]:.2f}, of what training added {b[1]/a[1]:.2f}; a pair takes {b[2]/a[2]:.2f} of the time')

if __name__ == '__main__':
    if sys.argv[1:2] == ['one']: one(sys.argv[2], *map(int, sys.argv[3:]))
    else: main(*map(int, sys.argv[1:]))
