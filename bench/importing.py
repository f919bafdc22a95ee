"""Importing a million rows from CSV and Parquet beside bare pyarrow reading and msgspec writing, in time and peak memory

    python bench/importing.py [ROWS] [ROUNDS]

Ours is all of `emb import` but the search for near duplicates: format and columns recognised, every row checked and
compared with all others, the lines of one file written and synced. The peer reads batches with pyarrow and writes each
row with msgspec, and looks at nothing. CPU seconds, threads included; each measurement is a process of its own."""
import random, statistics, subprocess, sys, tempfile
from pathlib import Path

ways = {
    'emb: import': '''
from embed_lab.data import importing as i
parts, *_ = i._parts_of([path])
ledger = i._Ledger()
i._take_all(parts, i._columns_of(parts, {}), folder, ledger, lambda *o: None)
ledger.lines()
assert sum(ledger.taken.values()) == rows''',
    'pyarrow and msgspec': '''
import msgspec
from pyarrow import csv, parquet
encode = msgspec.json.Encoder().encode
batches = csv.open_csv(path) if path.suffix == '.csv' else parquet.ParquetFile(path).iter_batches()
n = 0
with (folder/'all.jsonl').open('wb') as f:
    for batch in batches:
        for o in batch.to_pylist(): f.write(encode(o) + b'\\n')
        n += batch.num_rows
assert n == rows'''}

def measure(code, path, folder, rows):
    "CPU seconds and peak MiB of one way in a process of its own"
    head = f"import resource, time\nfrom pathlib import Path\npath, folder, rows = Path({str(path)!r}), Path({str(folder)!r}), {rows}\n"
    tail = """
u = resource.getrusage(resource.RUSAGE_SELF)
peak = next(o for o in open('/proc/self/status') if o.startswith('VmHWM')) # maxrss would begin with the parent's
print(u.ru_utime + u.ru_stime, int(peak.split()[1]) >> 10)"""
    out = subprocess.run([sys.executable, '-c', head + code + tail], check=True, capture_output=True, text=True).stdout.split()
    return float(out[0]), int(out[1])

def made(folder, rows):
    "The same rows as CSV and Parquet"
    import pyarrow as pa
    from pyarrow import csv, parquet
    rng, words = random.Random(0), [f'w{i}' for i in range(20_000)]
    def text(n, i): return f"{' '.join(rng.choices(words, k=n))}, or {i}"
    table = pa.table(dict(question=[text(9, i) for i in range(rows)], answer=[text(40, i) for i in range(rows)], label=[1]*rows))
    csv.write_csv(table, folder/'rows.csv')
    parquet.write_table(table, folder/'rows.parquet', row_group_size=100_000)
    return [folder/'rows.csv', folder/'rows.parquet']

def main(rows=1_000_000, rounds=3):
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        for path in made(tmp, rows):
            took, peak = {k: [] for k in ways}, {k: 0 for k in ways}
            for _ in range(rounds):
                for k,code in ways.items():
                    seconds, mib = measure(code, path, tmp, rows)
                    took[k].append(seconds)
                    peak[k] = max(peak[k], mib)
            ours, peer = took.values()
            ratio = statistics.median(a/b for a,b in zip(ours, peer))
            print(f'{path.suffix[1:]}, {rows:,} rows, {path.stat().st_size >> 20} MiB; medians of {rounds} rounds, in turn')
            for k,v in took.items(): print(f'{statistics.median(v):6.2f} CPU s  {peak[k]:6,} MiB peak  {k}')
            print(f'emb takes {ratio:.2f} of pyarrow and msgspec')

main(*map(int, sys.argv[1:]))
