"""Training on a machine that has other work: seconds beside the script of sentence-transformers' documentation, MiniLM on short texts, while so many processes keep a core each busy

    python bench/busy.py [PROCESSES]... [--steps N]

The last arm is ours with the threads' waiting as OpenMP has it. Needs the development data beside the repository."""
import json, os, subprocess, sys
from contextlib import ExitStack
from pathlib import Path
from arguments import parser

arms = {'plain': ('plain', {}), 'ours': ('ours', {}), 'ours, long waits': ('ours', dict(GOMP_SPINCOUNT='300000'))}

def seconds(arm, env, busy, steps):
    "Of the training alone"
    with ExitStack() as others:
        for _ in range(busy): others.callback(subprocess.Popen([sys.executable, '-c', 'while True: pass']).kill)
        res = subprocess.run([sys.executable, Path(__file__).with_name('training.py'), '--one', arm, 'nl2bash', str(steps)], env=os.environ | env, capture_output=True, text=True, check=True)
    return json.loads(res.stdout.splitlines()[-1])['wall']

def main():
    p = parser(__doc__)
    p.add_argument('processes', nargs='*', type=int, help='0 and 4 when none is named')
    p.add_argument('--steps', type=int, default=3)
    args = p.parse_intermixed_args()
    for n in args.processes or (0, 4):
        took = {k: seconds(*v, n, args.steps) for k,v in arms.items()}
        print(f'{n} busy processes: ' + ', '.join(f"{k} {v:.1f} s ({took['plain']/v:.1f} times as fast)" for k,v in took.items()), flush=True)

if __name__ == '__main__': main()
