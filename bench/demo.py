"How long `emb demo` takes, and what the tuned model gains on gold"
import json, os, subprocess, sys, tempfile, time
from pathlib import Path

def main():
    home = Path(tempfile.mkdtemp())
    t = time.perf_counter()
    subprocess.run([Path(sys.executable).parent/'emb', 'demo', home/'lab'], check=True, env=os.environ | dict(HF_HUB_OFFLINE='1'))
    took = time.perf_counter() - t
    run = home/'lab'/'results'/'exp_02_in_batch'
    m, gold = json.loads((run/'run.json').read_text()), json.loads((run/'eval'/'gold_metrics.json').read_text())
    h = m['hardware']
    print(f"\nemb demo: {took:.0f} s on {h['cpus']} cores, {h['device']} {h['precision']} ({h['reason']}), {h['threads']} threads")
    for k,v in gold['systems'].items(): print(f"{k:6} nDCG@10 {v['ndcg@10']['mean']:.3f} [{v['ndcg@10']['low']:.3f}, {v['ndcg@10']['high']:.3f}]")
    g = gold['gain']['ndcg@10']
    print(f"gain   {g['mean']:+.3f} [{g['low']:+.3f}, {g['high']:+.3f}], 95 % over {gold['queries']} queries, one seed")

main()
