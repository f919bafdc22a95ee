"Reading and validating a million rows, beside msgspec's bare typed decode, pydantic and datasets, in CPU time and peak memory"
import json, os, random, statistics, subprocess, sys, tempfile, time
from pathlib import Path

readers = {
    'emb: read and validate': '''
from embed_lab.data.reading import Scan, scan_blocks
scan = Scan(path)
n = sum(len(o.rows) for o in scan_blocks(scan))
assert not scan.failed()''',
    'msgspec, typed, a line at a time': '''
import msgspec
from typing import Literal
class Row(msgspec.Struct): query: str; passage: str; label: Literal[0, 1]
decode, n = msgspec.json.Decoder(Row).decode, 0
with open(path, 'rb') as f:
    for line in f: decode(line); n += 1''',
    'msgspec, typed, in blocks': '''
import msgspec
from typing import Literal
class Row(msgspec.Struct): query: str; passage: str; label: Literal[0, 1]
decode, n = msgspec.json.Decoder(Row).decode_lines, 0
with open(path, 'rb') as f:
    while block := f.read(1 << 18): n += len(decode(block + f.readline()))''',
    'pydantic, a line at a time': '''
from typing import Literal
from pydantic import BaseModel
class Row(BaseModel): query: str; passage: str; label: Literal[0, 1]
check, n = Row.model_validate_json, 0
with open(path, 'rb') as f:
    for line in f: check(line); n += 1''',
    "datasets.load_dataset('json')": '''
import datasets, tempfile
datasets.disable_progress_bars()
with tempfile.TemporaryDirectory() as cache: n = len(datasets.load_dataset('json', data_files=str(path), split='train', cache_dir=cache))'''}

def measure(code:str, path:Path)->tuple: # (CPU seconds without imports, rows, peak MiB)
    lines = code.strip().splitlines()
    imports = '\n'.join(o for o in lines if o.startswith(('import', 'from')))
    body = '\n'.join(o for o in lines if not o.startswith(('import', 'from')))
    text = f'import resource, sys, time\nfrom pathlib import Path\npath = Path(sys.argv[1])\n{imports}\nstart = time.process_time()\n{body}\nprint(time.process_time() - start, n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)'
    out = subprocess.run([sys.executable, '-c', text, str(path)], check=True, capture_output=True, text=True, env=os.environ | {'HF_HUB_OFFLINE': '1'}).stdout.split()
    return float(out[0]), int(out[1]), int(out[2])

def write(path:Path, n:int, words:list, more:bool):
    "Rows of 8 and 16 words; `more` adds what real data has: other alphabets, escapes, optional and unknown keys"
    draw = random.Random(1)
    with path.open('w') as f:
        for i in range(n):
            row = dict(query=' '.join(draw.choices(words, k=8)), passage=' '.join(draw.choices(words, k=16)), label=i % 2)
            f.write(json.dumps(row | (dict(passage=row['passage'] + '\n"so"', tags=['a'], shelf=i) if more else {}), ensure_ascii=False) + '\n')

def main(n:int=1_000_000, rounds:int=5):
    home = Path(tempfile.mkdtemp())
    for more in (False, True):
        path = home/f'rows{more}.jsonl'
        write(path, n, [f'wört{i}' if more else f'word{i}' for i in range(20_000)], more)
        took, peak = {k: [] for k in readers}, {}
        for _ in range(rounds):
            for k,code in readers.items():
                s, rows, peak[k] = measure(code, path)
                assert rows == n
                took[k].append(s)
        ours = took['emb: read and validate']
        print(f"{n:,} rows, {path.stat().st_size >> 20} MiB, {'non-ASCII, escapes, optional and unknown keys' if more else 'plain'}; medians of {rounds} rounds, in turn")
        for k,v in took.items(): print(f'{statistics.median(v):6.2f} CPU s  {peak[k]:6,} MiB peak  emb takes {statistics.median(a/b for a,b in zip(ours, v)):5.2f} of  {k}')
        path.unlink()

main(*map(int, sys.argv[1:]))
