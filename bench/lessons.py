"How long the lessons take, all of them"
import os, subprocess, sys, time
from pathlib import Path

root = Path(__file__).resolve().parent.parent
t = time.perf_counter()
subprocess.run([Path(sys.executable).parent/'nbdev-test', '--timing'], check=True, cwd=root, env=os.environ | dict(HF_HUB_OFFLINE='1'))
print(f'nbdev-test: {time.perf_counter() - t:.0f} s on {os.cpu_count()} cores')
